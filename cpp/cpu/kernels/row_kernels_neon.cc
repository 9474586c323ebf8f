#include "cpu/kernels/vector_neon.h"
// Written in terms of Vector:
#include "cpu/kernels/attention_tile.inc.h"

namespace mlc::cpu {

const RowKernels kNeonRowKernels = {Norm, AddTo, Silu, GeluTanh, Cap, RotatePairs, Attend, Merge};

}  // namespace mlc::cpu
