#pragma once

#include <immintrin.h>

#include "cpu/kernels/vector_avx2.h"

// Only for the files that compile *.inc.h for one instruction set: see matmul_kernels.h.

namespace mlc::cpu {
namespace {

/// 32 bytes or eight int32 of AVX2. A half of it holds 16 bytes, one group of nibbles.
struct Integers {
  static constexpr int kGroups = 2;
  __m256i bits;

  static Integers Load(const void* p) {
    return {_mm256_loadu_si256(static_cast<const __m256i*>(p))};
  }
  static Integers Broadcast(std::int32_t value) { return {_mm256_set1_epi32(value)}; }
  void Store(void* p) const { _mm256_storeu_si256(static_cast<__m256i*>(p), bits); }
};

inline Integers LowNibbles(Integers v) { return {_mm256_and_si256(v.bits, _mm256_set1_epi8(0xf))}; }
inline Integers HighNibbles(Integers v) { return LowNibbles({_mm256_srli_epi16(v.bits, 4)}); }

inline Integers Subtract(Integers a, Integers b) { return {_mm256_sub_epi32(a.bits, b.bits)}; }
inline Vector ToFloats(Integers v) { return {_mm256_cvtepi32_ps(v.bits)}; }

/// The bytes [4 * i, +4) of 16, again and again.
inline Integers RepeatFour(const std::int8_t* bytes, int i) {
  return {_mm256_castps_si256(_mm256_broadcast_ss(reinterpret_cast<const float*>(bytes) + i))};
}

/// Each of kGroups numbers, four times.
inline Integers Spread(const std::int32_t* numbers) {
  return {_mm256_blend_epi32(_mm256_set1_epi32(numbers[0]), _mm256_set1_epi32(numbers[1]), 0xf0)};
}
inline Vector Spread(const float* numbers) {
  return {_mm256_blend_ps(_mm256_broadcast_ss(numbers), _mm256_broadcast_ss(numbers + 1), 0xf0)};
}

/// Of four vectors of int32, whose values fit in int16, the sums of four neighbours each.
inline Integers AddNeighbours(const Integers (&four)[4]) {
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i low = _mm256_madd_epi16(_mm256_packs_epi32(four[0].bits, four[1].bits), ones);
  const __m256i high = _mm256_madd_epi16(_mm256_packs_epi32(four[2].bits, four[3].bits), ones);
  return {_mm256_madd_epi16(_mm256_packs_epi32(low, high), ones)};
}

/// In each half, vector i becomes the four bytes i of the four.
inline void TransposeWords(Integers (&v)[4]) {
  const __m256i low01 = _mm256_unpacklo_epi32(v[0].bits, v[1].bits);
  const __m256i high01 = _mm256_unpackhi_epi32(v[0].bits, v[1].bits);
  const __m256i low23 = _mm256_unpacklo_epi32(v[2].bits, v[3].bits);
  const __m256i high23 = _mm256_unpackhi_epi32(v[2].bits, v[3].bits);
  v[0].bits = _mm256_unpacklo_epi64(low01, low23);
  v[1].bits = _mm256_unpackhi_epi64(low01, low23);
  v[2].bits = _mm256_unpacklo_epi64(high01, high23);
  v[3].bits = _mm256_unpackhi_epi64(high01, high23);
}

/// Vector i becomes the halves i of both.
inline void TransposeGroups(Integers (&v)[2]) {
  const __m256i low = _mm256_permute2x128_si256(v[0].bits, v[1].bits, 0x20);
  v[1].bits = _mm256_permute2x128_si256(v[0].bits, v[1].bits, 0x31);
  v[0].bits = low;
}
inline void TransposeGroups(Vector (&v)[2]) {
  const __m256 low = _mm256_permute2f128_ps(v[0].lanes, v[1].lanes, 0x20);
  v[1].lanes = _mm256_permute2f128_ps(v[0].lanes, v[1].lanes, 0x31);
  v[0].lanes = low;
}

/// Eight groups' scales of four rows: out[i] holds kGroups groups' of the four rows each.
inline void LoadScales(const std::uint16_t* const* rows, Vector (&out)[4]) {
  const auto load = [&](int i) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i]));
  };
  const __m128i low01 = _mm_unpacklo_epi16(load(0), load(1));
  const __m128i high01 = _mm_unpackhi_epi16(load(0), load(1));
  const __m128i low23 = _mm_unpacklo_epi16(load(2), load(3));
  const __m128i high23 = _mm_unpackhi_epi16(load(2), load(3));
  out[0] = {_mm256_cvtph_ps(_mm_unpacklo_epi32(low01, low23))};
  out[1] = {_mm256_cvtph_ps(_mm_unpackhi_epi32(low01, low23))};
  out[2] = {_mm256_cvtph_ps(_mm_unpacklo_epi32(high01, high23))};
  out[3] = {_mm256_cvtph_ps(_mm_unpackhi_epi32(high01, high23))};
}
inline void LoadScales(const float* const* rows, Vector (&out)[4]) {
  for (int half = 0; half < 2; ++half) {
    const auto load = [&](int i) { return _mm_loadu_ps(rows[i] + 4 * half); };
    const __m128 low01 = _mm_unpacklo_ps(load(0), load(1));
    const __m128 high01 = _mm_unpackhi_ps(load(0), load(1));
    const __m128 low23 = _mm_unpacklo_ps(load(2), load(3));
    const __m128 high23 = _mm_unpackhi_ps(load(2), load(3));
    out[2 * half] = {_mm256_set_m128(_mm_movehl_ps(low23, low01), _mm_movelh_ps(low01, low23))};
    out[2 * half + 1] = {
        _mm256_set_m128(_mm_movehl_ps(high23, high01), _mm_movelh_ps(high01, high23))};
  }
}

/// Keeps the compiler from making a tree of a chain of sums: its leaves would not fit in registers.
inline void Pin([[maybe_unused]] Integers& v) {
#if defined(__GNUC__)
  __asm__("" : "+x"(v.bits));
#endif
}

}  // namespace
}  // namespace mlc::cpu
