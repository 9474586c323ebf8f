#include "cpu/kernels/dot_neon.h"
#include "cpu/kernels/quantize_neon.h"
// Written in terms of them:
#include "cpu/kernels/float_matmul.inc.h"
#include "cpu/kernels/q4_matmul.inc.h"
#include "cpu/kernels/quantize.inc.h"

namespace mlc::cpu {

const MatMulKernels kNeonMatMul = {Integers::kGroups,           Quantize,
                                   floats::Multiply<float>,     floats::Multiply<std::uint16_t>,
                                   q4::Multiply<std::uint16_t>, q4::Multiply<float>};

}  // namespace mlc::cpu
