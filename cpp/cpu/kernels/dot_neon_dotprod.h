#pragma once

#include "cpu/kernels/nibbles_neon.h"

namespace mlc::cpu {
namespace {

/// Sums of four neighbouring products of weights (0 to 15) and int8.
using Sums = Integers;

inline Sums AddDot(Sums sums, Integers weights, Integers x) {
  return {vdotq_s32(sums.bits, weights.bytes(), x.bytes())};
}

/// The bytes [4 * i, +4) of 16, again and again: by the products themselves.
struct RepeatedFour {
  int8x16_t bytes;
  int i;
};
inline RepeatedFour RepeatFour(const std::int8_t* bytes, int i) { return {vld1q_s8(bytes), i}; }

inline Sums AddDot(Sums sums, Integers weights, RepeatedFour x) {
  switch (x.i) {
    case 0:
      return {vdotq_laneq_s32(sums.bits, weights.bytes(), x.bytes, 0)};
    case 1:
      return {vdotq_laneq_s32(sums.bits, weights.bytes(), x.bytes, 1)};
    case 2:
      return {vdotq_laneq_s32(sums.bits, weights.bytes(), x.bytes, 2)};
    default:
      return {vdotq_laneq_s32(sums.bits, weights.bytes(), x.bytes, 3)};
  }
}

template <typename Input>
inline Sums Dot(Integers weights, Input x) {
  return AddDot(Integers::Broadcast(0), weights, x);
}
inline Integers Total(Sums sums) { return sums; }

/// Keeps the products in this order: in another one, the weights would not stay in registers.
inline void Pin(Sums& sums) { __asm__("" : "+w"(sums.bits)); }

}  // namespace
}  // namespace mlc::cpu
