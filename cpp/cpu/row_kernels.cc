#include "cpu/row_kernels.h"

#include "cpu/isa.h"

namespace mlc::cpu {

const RowKernels& ChooseRowKernels() {
#if defined(__x86_64__) || defined(_M_X64)
  switch (ChooseIsa()) {
    case Isa::kAvx512:
      return kAvx512RowKernels;
    case Isa::kAvx2:
      return kAvx2RowKernels;
    case Isa::kPortable:
      break;
  }
#else
  ChooseIsa();  // for its errors
#endif
  return kPortableRowKernels;
}

}  // namespace mlc::cpu
