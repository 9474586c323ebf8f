#pragma once

#include <arm_neon.h>

#include <cstdint>

// Only for the files that compile *.inc.h for one instruction set: see row_kernels.h.

namespace mlc::cpu {
namespace {

/// Four floats of NEON.
struct NeonVector {
  static constexpr int kLanes = 4;
  static constexpr int kRegisters = 32;
  static constexpr int kWideBlock = 8;
  float32x4_t lanes;

  static NeonVector Load(const float* p) { return {vld1q_f32(p)}; }
  static NeonVector LoadHalf(const std::uint16_t* p) {
    return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)))};
  }
  static NeonVector Broadcast(float x) { return {vdupq_n_f32(x)}; }
  void Store(float* p) const { vst1q_f32(p, lanes); }
};

using Vector = NeonVector;

inline Vector Add(Vector a, Vector b) { return {vaddq_f32(a.lanes, b.lanes)}; }
inline Vector Sub(Vector a, Vector b) { return {vsubq_f32(a.lanes, b.lanes)}; }
inline Vector Mul(Vector a, Vector b) { return {vmulq_f32(a.lanes, b.lanes)}; }
inline Vector Div(Vector a, Vector b) { return {vdivq_f32(a.lanes, b.lanes)}; }
inline Vector Sqrt(Vector x) { return {vsqrtq_f32(x.lanes)}; }

/// a * b + c
inline Vector MulAdd(Vector a, Vector b, Vector c) {
  return {vfmaq_f32(c.lanes, a.lanes, b.lanes)};
}

/// The second where one of them is NaN, which vmaxq and vminq do not give.
inline Vector Max(Vector a, Vector b) {
  return {vbslq_f32(vcgtq_f32(a.lanes, b.lanes), a.lanes, b.lanes)};
}
inline Vector Min(Vector a, Vector b) {
  return {vbslq_f32(vcltq_f32(a.lanes, b.lanes), a.lanes, b.lanes)};
}

/// To the nearest integer; for |x| below 2^22.
inline Vector Round(Vector x) { return {vrndnq_f32(x.lanes)}; }

/// 2^n for an integer n from -126 to 127; anything for NaN.
inline Vector PowerOfTwo(Vector n) {
  const int32x4_t biased = vaddq_s32(vcvtq_s32_f32(n.lanes), vdupq_n_s32(127));
  return {vreinterpretq_f32_s32(vshlq_n_s32(biased, 23))};
}

inline float AddLanes(Vector v) { return vaddvq_f32(v.lanes); }
inline float MaxLane(Vector v) { return vmaxnmvq_f32(v.lanes); }

}  // namespace
}  // namespace mlc::cpu
