#include "cpu/isa.h"
#include "cpu/kernels/matmul_kernels.h"
#include "cpu/kernels/row_kernels.h"

namespace mlc::cpu {
namespace {

struct Kernels {
  const RowKernels& row;
  const MatMulKernels& matmul;
};

Kernels Choose() {
  switch (ChooseIsa()) {
#if defined(__x86_64__) || defined(_M_X64)
    case Isa::kAvx512:
      return {kAvx512RowKernels, kAvx512MatMul};
    case Isa::kAvxVnni:
      return {kAvx2RowKernels, kAvxVnniMatMul};
    case Isa::kAvx2:
      return {kAvx2RowKernels, kAvx2MatMul};
#elif defined(__aarch64__)
    case Isa::kNeonDotprod:
      return {kNeonRowKernels, kNeonDotprodMatMul};
    case Isa::kNeon:
      return {kNeonRowKernels, kNeonMatMul};
#endif
    default:
      return {kPortableRowKernels, kPortableMatMul};
  }
}

}  // namespace

const RowKernels& ChooseRowKernels() { return Choose().row; }
const MatMulKernels& ChooseMatMulKernels() { return Choose().matmul; }

}  // namespace mlc::cpu
