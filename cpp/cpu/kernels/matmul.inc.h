#pragma once

// Products of every encoding, in terms of Vector, Integers, Sums and QuantizeGroup. Included by
// each matmul_*.cc, after its dot_*.h and quantize_*.h.

#include "cpu/kernels/float_matmul.inc.h"
#include "cpu/kernels/q4_matmul.inc.h"
#include "cpu/kernels/quantize.inc.h"

namespace mlc::cpu {
namespace {

constexpr MatMulKernels kMatMul = {Integers::kGroups,           Quantize,
                                   floats::Multiply<float>,     floats::Multiply<std::uint16_t>,
                                   q4::Multiply<std::uint16_t>, q4::Multiply<float>};

}  // namespace
}  // namespace mlc::cpu
