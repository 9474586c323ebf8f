#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mlc::cpu {

/// Instruction sets that kernels are written for, of each kind of processor the weakest first.
enum class Isa { kPortable, kAvx2, kAvxVnni, kAvx512, kNeon, kNeonDotprod };

/// "portable"; "avx2" (with FMA and F16C), "avx_vnni" (avx2 with VNNI) or "avx512" (F, BW, VL and
/// VNNI); "neon" or "neon_dotprod" (with the dot product of int8).
std::string_view Name(Isa isa);

/// What the processor offers and the operating system saves, weakest first; never empty.
std::vector<Isa> AvailableIsas();

/// The best available one, or the one that MLC_LLM_CPU_ISA names.
/// Throws std::invalid_argument when that one is unknown or not available.
Isa ChooseIsa();

/// The processor's own name for itself, "CPU" where it has none.
std::string ProcessorName();

}  // namespace mlc::cpu
