#pragma once

#include "cpu/kernels/nibbles_avx2.h"

namespace mlc::cpu {
namespace {

/// Sums of products of weights (0 to 15) and int8: int16 hold up to eight times two neighbours.
struct Sums {
  Integers pairs;
};

inline Sums Dot(Integers weights, Integers x) {
  return {{_mm256_maddubs_epi16(weights.bits, x.bits)}};
}
inline Sums AddDot(Sums sums, Integers weights, Integers x) {
  return {{_mm256_add_epi16(sums.pairs.bits, Dot(weights, x).pairs.bits)}};
}
inline Integers Total(Sums sums) {
  return {_mm256_madd_epi16(sums.pairs.bits, _mm256_set1_epi16(1))};
}
inline void Pin(Sums& sums) { Pin(sums.pairs); }

}  // namespace
}  // namespace mlc::cpu
