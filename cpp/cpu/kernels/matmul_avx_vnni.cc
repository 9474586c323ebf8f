#include "cpu/kernels/dot_avx_vnni.h"
#include "cpu/kernels/quantize_avx2.h"
// Written in terms of them:
#include "cpu/kernels/matmul.inc.h"

namespace mlc::cpu {

const MatMulKernels kAvxVnniMatMul = kMatMul;

}  // namespace mlc::cpu
