#include "cpu/kernels/vector_avx2.h"
// Written in terms of Vector:
#include "cpu/kernels/attention_tile.inc.h"

namespace mlc::cpu {

const RowKernels kAvx2RowKernels = {Norm, AddTo, Silu, GeluTanh, Cap, RotatePairs, Attend, Merge};

}  // namespace mlc::cpu
