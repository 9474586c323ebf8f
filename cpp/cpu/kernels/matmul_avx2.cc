#include "cpu/kernels/dot_avx2.h"
#include "cpu/kernels/quantize_avx2.h"
// Written in terms of them:
#include "cpu/kernels/matmul.inc.h"

namespace mlc::cpu {

const MatMulKernels kAvx2MatMul = kMatMul;

}  // namespace mlc::cpu
