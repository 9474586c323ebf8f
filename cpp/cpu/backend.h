#pragma once

#include <memory>

#include "runtime/backend.h"
#include "runtime/device.h"
#include "runtime/linear.h"

namespace mlc::cpu {

/// The CPU, with the instruction sets that the kernels can use on it.
Discovery Discover();

/// A linear layer that reads `weight` in place: its memory must outlive the result.
/// Throws std::invalid_argument when MLC_LLM_CPU_ISA names what this CPU does not have.
std::unique_ptr<Linear> MakeLinear(const Q4F16Weight& weight);

/// The operators of a decoder, on all threads of ThreadPool::Global(). Matrices are read in place.
/// Throws std::invalid_argument when MLC_LLM_CPU_ISA names what this CPU does not have.
std::shared_ptr<Backend> MakeBackend();

}  // namespace mlc::cpu
