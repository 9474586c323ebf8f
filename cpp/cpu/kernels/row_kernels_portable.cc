#include "cpu/kernels/vector_portable.h"
// Written in terms of Vector:
#include "cpu/kernels/attention_tile.inc.h"

namespace mlc::cpu {

const RowKernels kPortableRowKernels = {Norm, AddTo,       Silu,   GeluTanh,
                                        Cap,  RotatePairs, Attend, Merge};

}  // namespace mlc::cpu
