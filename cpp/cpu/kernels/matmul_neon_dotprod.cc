#include "cpu/kernels/dot_neon_dotprod.h"
#include "cpu/kernels/quantize_neon.h"
// Written in terms of them:
#include "cpu/kernels/matmul.inc.h"

namespace mlc::cpu {

const MatMulKernels kNeonDotprodMatMul = kMatMul;

}  // namespace mlc::cpu
