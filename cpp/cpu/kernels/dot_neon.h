#pragma once

#include <cstring>

#include "cpu/kernels/nibbles_neon.h"

namespace mlc::cpu {
namespace {

/// Sums of products of weights (0 to 15) and int8, of the first eight bytes and of the last:
/// int16 hold up to eight times two neighbours.
struct Sums {
  int16x8_t low, high;
};

inline Sums Dot(Integers weights, Integers x) {
  const int8x16_t w = weights.bytes(), v = x.bytes();
  return {vmull_s8(vget_low_s8(w), vget_low_s8(v)), vmull_high_s8(w, v)};
}
inline Sums AddDot(Sums sums, Integers weights, Integers x) {
  const int8x16_t w = weights.bytes(), v = x.bytes();
  return {vmlal_s8(sums.low, vget_low_s8(w), vget_low_s8(v)), vmlal_high_s8(sums.high, w, v)};
}
inline Integers Total(Sums sums) { return {vpaddlq_s16(vpaddq_s16(sums.low, sums.high))}; }

/// Keeps the compiler from making a tree of a chain of sums: its leaves would not fit in registers.
inline void Pin(Sums& sums) { __asm__("" : "+w"(sums.low), "+w"(sums.high)); }

/// The bytes [4 * i, +4) of 16, again and again.
inline Integers RepeatFour(const std::int8_t* bytes, int i) {
  std::int32_t four;
  std::memcpy(&four, bytes + 4 * i, sizeof(four));
  Integers repeated = Integers::Broadcast(four);
  // Who sees that its halves are the same takes the weights apart, with an instruction for each.
  __asm__("" : "+w"(repeated.bits));
  return repeated;
}

}  // namespace
}  // namespace mlc::cpu
