#pragma once

#include "cpu/kernels/vector_neon.h"

// Only for the files that compile *.inc.h for one instruction set: see matmul_kernels.h.

namespace mlc::cpu {
namespace {

/// 16 bytes, one group of nibbles, or four int32 of NEON.
struct Integers {
  static constexpr int kGroups = 1;
  int32x4_t bits;

  static Integers Load(const void* p) {
    return {vreinterpretq_s32_u8(vld1q_u8(static_cast<const std::uint8_t*>(p)))};
  }
  static Integers Broadcast(std::int32_t value) { return {vdupq_n_s32(value)}; }
  void Store(void* p) const { vst1q_u8(static_cast<std::uint8_t*>(p), vreinterpretq_u8_s32(bits)); }

  int8x16_t bytes() const { return vreinterpretq_s8_s32(bits); }
};

inline Integers LowNibbles(Integers v) {
  return {vreinterpretq_s32_u8(vandq_u8(vreinterpretq_u8_s32(v.bits), vdupq_n_u8(0xf)))};
}
inline Integers HighNibbles(Integers v) {
  return {vreinterpretq_s32_u8(vshrq_n_u8(vreinterpretq_u8_s32(v.bits), 4))};
}

inline Integers Subtract(Integers a, Integers b) { return {vsubq_s32(a.bits, b.bits)}; }
inline Vector ToFloats(Integers v) { return {vcvtq_f32_s32(v.bits)}; }

/// Each of kGroups numbers, four times.
inline Integers Spread(const std::int32_t* numbers) { return {vld1q_dup_s32(numbers)}; }
inline Vector Spread(const float* numbers) { return {vld1q_dup_f32(numbers)}; }

/// Of four vectors of int32 the sums of four neighbours each.
inline Integers AddNeighbours(const Integers (&four)[4]) {
  return {
      vpaddq_s32(vpaddq_s32(four[0].bits, four[1].bits), vpaddq_s32(four[2].bits, four[3].bits))};
}

/// Vector i becomes the four bytes i of the four.
inline void TransposeWords(Integers (&v)[4]) {
  const int32x4_t low02 = vzip1q_s32(v[0].bits, v[2].bits);
  const int32x4_t high02 = vzip2q_s32(v[0].bits, v[2].bits);
  const int32x4_t low13 = vzip1q_s32(v[1].bits, v[3].bits);
  const int32x4_t high13 = vzip2q_s32(v[1].bits, v[3].bits);
  v[0].bits = vzip1q_s32(low02, low13);
  v[1].bits = vzip2q_s32(low02, low13);
  v[2].bits = vzip1q_s32(high02, high13);
  v[3].bits = vzip2q_s32(high02, high13);
}

/// With one group in a vector there is nothing to do.
inline void TransposeGroups(Integers (&)[1]) {}
inline void TransposeGroups(Vector (&)[1]) {}

/// Eight groups' scales of four rows: out[i] holds kGroups groups' of the four rows each.
inline void LoadScales(const std::uint16_t* const* rows, Vector (&out)[8]) {
  const auto load = [&](int i) { return vld1q_u16(rows[i]); };
  const uint16x8_t low02 = vzip1q_u16(load(0), load(2)), high02 = vzip2q_u16(load(0), load(2));
  const uint16x8_t low13 = vzip1q_u16(load(1), load(3)), high13 = vzip2q_u16(load(1), load(3));
  const uint16x8_t pairs[4] = {vzip1q_u16(low02, low13), vzip2q_u16(low02, low13),
                               vzip1q_u16(high02, high13), vzip2q_u16(high02, high13)};
  for (int i = 0; i < 4; ++i) {
    const float16x8_t halves = vreinterpretq_f16_u16(pairs[i]);
    out[2 * i] = {vcvt_f32_f16(vget_low_f16(halves))};
    out[2 * i + 1] = {vcvt_high_f32_f16(halves)};
  }
}
inline void LoadScales(const float* const* rows, Vector (&out)[8]) {
  for (int half = 0; half < 2; ++half) {
    Integers words[4];
    for (int i = 0; i < 4; ++i) words[i] = Integers::Load(rows[i] + 4 * half);
    TransposeWords(words);
    for (int i = 0; i < 4; ++i) out[4 * half + i] = {vreinterpretq_f32_s32(words[i].bits)};
  }
}

}  // namespace
}  // namespace mlc::cpu
