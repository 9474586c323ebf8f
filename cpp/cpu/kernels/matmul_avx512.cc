#include "cpu/kernels/nibbles_avx512.h"
// Written in terms of it:
#include "cpu/kernels/float_matmul.inc.h"
#include "cpu/kernels/q4_matmul.inc.h"
#include "cpu/kernels/quantize_x86.inc.h"

namespace mlc::cpu {

const MatMulKernels kAvx512MatMul = {Integers::kGroups,           Quantize,
                                     floats::Multiply<float>,     floats::Multiply<std::uint16_t>,
                                     q4::Multiply<std::uint16_t>, q4::Multiply<float>};

}  // namespace mlc::cpu
