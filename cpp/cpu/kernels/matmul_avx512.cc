#include "cpu/kernels/nibbles_avx512.h"
#include "cpu/kernels/quantize_avx2.h"
// Written in terms of them:
#include "cpu/kernels/float_matmul.inc.h"
#include "cpu/kernels/q4_matmul.inc.h"
#include "cpu/kernels/quantize.inc.h"

namespace mlc::cpu {

const MatMulKernels kAvx512MatMul = {Integers::kGroups,           Quantize,
                                     floats::Multiply<float>,     floats::Multiply<std::uint16_t>,
                                     q4::Multiply<std::uint16_t>, q4::Multiply<float>};

}  // namespace mlc::cpu
