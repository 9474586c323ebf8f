#pragma once

#include <immintrin.h>

#include <cstdint>

// Only for the files that compile *.inc.h for one instruction set: see row_kernels.h.

namespace mlc::cpu {
namespace {

/// Sixteen floats of AVX-512.
struct Avx512Vector {
  static constexpr int kLanes = 16;
  static constexpr int kRegisters = 32;
  static constexpr int kWideBlock = 4;
  __m512 lanes;

  static Avx512Vector Load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Avx512Vector LoadHalf(const std::uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  static Avx512Vector Broadcast(float x) { return {_mm512_set1_ps(x)}; }
  void Store(float* p) const { _mm512_storeu_ps(p, lanes); }
};

using Vector = Avx512Vector;

inline Vector Add(Vector a, Vector b) { return {_mm512_add_ps(a.lanes, b.lanes)}; }
inline Vector Sub(Vector a, Vector b) { return {_mm512_sub_ps(a.lanes, b.lanes)}; }
inline Vector Mul(Vector a, Vector b) { return {_mm512_mul_ps(a.lanes, b.lanes)}; }
inline Vector Div(Vector a, Vector b) { return {_mm512_div_ps(a.lanes, b.lanes)}; }
// With a mask of all lanes: GCC 12 warns of its own header without one.
inline Vector Sqrt(Vector x) { return {_mm512_maskz_sqrt_ps(0xffff, x.lanes)}; }

/// a * b + c
inline Vector MulAdd(Vector a, Vector b, Vector c) {
  return {_mm512_fmadd_ps(a.lanes, b.lanes, c.lanes)};
}

/// The second where one of them is NaN.
inline Vector Max(Vector a, Vector b) { return {_mm512_max_ps(a.lanes, b.lanes)}; }
inline Vector Min(Vector a, Vector b) { return {_mm512_min_ps(a.lanes, b.lanes)}; }

/// To the nearest integer; for |x| below 2^22.
inline Vector Round(Vector x) {
  return {
      _mm512_maskz_roundscale_ps(0xffff, x.lanes, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

/// 2^n for an integer n from -126 to 127; anything for NaN.
inline Vector PowerOfTwo(Vector n) {
  const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n.lanes), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(biased, 23))};
}

// Through memory: GCC 12 warns of its own header where the halves are taken apart in registers.
inline float AddLanes(Vector v) {
  float lanes[Vector::kLanes];
  v.Store(lanes);
  const __m256 eight = _mm256_add_ps(_mm256_loadu_ps(lanes), _mm256_loadu_ps(lanes + 8));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

inline float MaxLane(Vector v) {
  float lanes[Vector::kLanes];
  v.Store(lanes);
  float most = lanes[0];
  for (int i = 1; i < Vector::kLanes; ++i) most = most > lanes[i] ? most : lanes[i];
  return most;
}

}  // namespace
}  // namespace mlc::cpu
