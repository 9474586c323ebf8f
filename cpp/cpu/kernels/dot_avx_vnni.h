#pragma once

#include "cpu/kernels/nibbles_avx2.h"

namespace mlc::cpu {
namespace {

/// Sums of four neighbouring products of weights (0 to 15) and int8.
using Sums = Integers;

inline Sums AddDot(Sums sums, Integers weights, Integers x) {
  return {_mm256_dpbusd_avx_epi32(sums.bits, weights.bits, x.bits)};
}
inline Sums Dot(Integers weights, Integers x) {
  return AddDot({_mm256_setzero_si256()}, weights, x);
}
inline Integers Total(Sums sums) { return sums; }

}  // namespace
}  // namespace mlc::cpu
