#pragma once

#include <immintrin.h>

#include <cstdint>

// Only for the files that compile *.inc.h for one instruction set: see row_kernels.h.

namespace mlc::cpu {
namespace {

/// Eight floats of AVX2.
struct Avx2Vector {
  static constexpr int kLanes = 8;
  static constexpr int kRegisters = 16;
  static constexpr int kWideBlock = 4;
  __m256 lanes;

  static Avx2Vector Load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Avx2Vector LoadHalf(const std::uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  static Avx2Vector Broadcast(float x) { return {_mm256_set1_ps(x)}; }
  void Store(float* p) const { _mm256_storeu_ps(p, lanes); }
};

using Vector = Avx2Vector;

inline Vector Add(Vector a, Vector b) { return {_mm256_add_ps(a.lanes, b.lanes)}; }
inline Vector Sub(Vector a, Vector b) { return {_mm256_sub_ps(a.lanes, b.lanes)}; }
inline Vector Mul(Vector a, Vector b) { return {_mm256_mul_ps(a.lanes, b.lanes)}; }
inline Vector Div(Vector a, Vector b) { return {_mm256_div_ps(a.lanes, b.lanes)}; }
inline Vector Sqrt(Vector x) { return {_mm256_sqrt_ps(x.lanes)}; }

/// a * b + c
inline Vector MulAdd(Vector a, Vector b, Vector c) {
  return {_mm256_fmadd_ps(a.lanes, b.lanes, c.lanes)};
}

/// The second where one of them is NaN.
inline Vector Max(Vector a, Vector b) { return {_mm256_max_ps(a.lanes, b.lanes)}; }
inline Vector Min(Vector a, Vector b) { return {_mm256_min_ps(a.lanes, b.lanes)}; }

/// To the nearest integer; for |x| below 2^22.
inline Vector Round(Vector x) {
  return {_mm256_round_ps(x.lanes, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

/// 2^n for an integer n from -126 to 127; anything for NaN.
inline Vector PowerOfTwo(Vector n) {
  const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n.lanes), _mm256_set1_epi32(127));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(biased, 23))};
}

inline float AddLanes(Vector v) {
  const __m128 four =
      _mm_add_ps(_mm256_castps256_ps128(v.lanes), _mm256_extractf128_ps(v.lanes, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

inline float MaxLane(Vector v) {
  const __m128 four =
      _mm_max_ps(_mm256_castps256_ps128(v.lanes), _mm256_extractf128_ps(v.lanes, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

}  // namespace
}  // namespace mlc::cpu
