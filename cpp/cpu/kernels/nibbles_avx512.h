#pragma once

#include <immintrin.h>

#include "cpu/kernels/vector_avx512.h"

// Only for the files that compile *.inc.h for one instruction set: see matmul_kernels.h.

namespace mlc::cpu {
namespace {

/// 64 bytes or sixteen int32 of AVX-512. A quarter of it holds 16 bytes, one group of nibbles.
struct Integers {
  static constexpr int kGroups = 4;
  __m512i bits;

  static Integers Load(const void* p) { return {_mm512_loadu_si512(p)}; }
  static Integers Broadcast(std::int32_t value) { return {_mm512_set1_epi32(value)}; }
  void Store(void* p) const { _mm512_storeu_si512(p, bits); }
};

inline Integers LowNibbles(Integers v) { return {_mm512_and_si512(v.bits, _mm512_set1_epi8(0xf))}; }
inline Integers HighNibbles(Integers v) { return LowNibbles({_mm512_srli_epi16(v.bits, 4)}); }

inline Integers Subtract(Integers a, Integers b) { return {_mm512_sub_epi32(a.bits, b.bits)}; }
inline Vector ToFloats(Integers v) { return {_mm512_cvtepi32_ps(v.bits)}; }

/// The bytes [4 * i, +4) of 16, again and again.
inline Integers RepeatFour(const std::int8_t* bytes, int i) {
  return {_mm512_broadcastd_epi32(_mm_loadu_si32(bytes + 4 * i))};
}

/// Each of kGroups numbers, four times.
inline Integers Spread(const std::int32_t* numbers) {
  const __m512i four =
      _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers)));
  return {_mm512_permutexvar_epi32(
      _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3), four)};
}
inline Vector Spread(const float* numbers) {
  const __m512 four = _mm512_castps128_ps512(_mm_loadu_ps(numbers));
  return {_mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
                                four)};
}

using Sums = Integers;

/// Sums of four neighbouring products of weights (0 to 15) and int8.
inline Sums Dot(Integers weights, Integers x) {
  return {_mm512_dpbusd_epi32(_mm512_setzero_si512(), weights.bits, x.bits)};
}
inline Sums AddDot(Sums sums, Integers weights, Integers x) {
  return {_mm512_dpbusd_epi32(sums.bits, weights.bits, x.bits)};
}
inline Integers Total(Sums sums) { return sums; }

/// Of four vectors of int32, whose values fit in int16, the sums of four neighbours each.
inline Integers AddNeighbours(const Integers (&four)[4]) {
  const __m512i ones = _mm512_set1_epi16(1);
  const __m512i low = _mm512_madd_epi16(_mm512_packs_epi32(four[0].bits, four[1].bits), ones);
  const __m512i high = _mm512_madd_epi16(_mm512_packs_epi32(four[2].bits, four[3].bits), ones);
  return {_mm512_madd_epi16(_mm512_packs_epi32(low, high), ones)};
}

/// In each quarter, vector i becomes the four bytes i of the four.
inline void TransposeWords(Integers (&v)[4]) {
  const __m512i low01 = _mm512_unpacklo_epi32(v[0].bits, v[1].bits);
  const __m512i high01 = _mm512_unpackhi_epi32(v[0].bits, v[1].bits);
  const __m512i low23 = _mm512_unpacklo_epi32(v[2].bits, v[3].bits);
  const __m512i high23 = _mm512_unpackhi_epi32(v[2].bits, v[3].bits);
  v[0].bits = _mm512_unpacklo_epi64(low01, low23);
  v[1].bits = _mm512_unpackhi_epi64(low01, low23);
  v[2].bits = _mm512_unpacklo_epi64(high01, high23);
  v[3].bits = _mm512_unpackhi_epi64(high01, high23);
}

/// Vector i becomes the quarters i of the four.
inline void TransposeGroups(Integers (&v)[4]) {
  const __m512i even01 = _mm512_shuffle_i32x4(v[0].bits, v[1].bits, 0x88);
  const __m512i odd01 = _mm512_shuffle_i32x4(v[0].bits, v[1].bits, 0xdd);
  const __m512i even23 = _mm512_shuffle_i32x4(v[2].bits, v[3].bits, 0x88);
  const __m512i odd23 = _mm512_shuffle_i32x4(v[2].bits, v[3].bits, 0xdd);
  v[0].bits = _mm512_shuffle_i32x4(even01, even23, 0x88);
  v[1].bits = _mm512_shuffle_i32x4(odd01, odd23, 0x88);
  v[2].bits = _mm512_shuffle_i32x4(even01, even23, 0xdd);
  v[3].bits = _mm512_shuffle_i32x4(odd01, odd23, 0xdd);
}
inline void TransposeGroups(Vector (&v)[4]) {
  Integers integers[4];
  for (int i = 0; i < 4; ++i) integers[i].bits = _mm512_castps_si512(v[i].lanes);
  TransposeGroups(integers);
  for (int i = 0; i < 4; ++i) v[i].lanes = _mm512_castsi512_ps(integers[i].bits);
}

/// Eight groups' scales of four rows: out[i] holds kGroups groups' of the four rows each.
inline void LoadScales(const std::uint16_t* const* rows, Vector (&out)[2]) {
  const auto load = [&](int i) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i]));
  };
  const __m256i rows01 =
      _mm256_set_m128i(_mm_unpackhi_epi16(load(0), load(1)), _mm_unpacklo_epi16(load(0), load(1)));
  const __m256i rows23 =
      _mm256_set_m128i(_mm_unpackhi_epi16(load(2), load(3)), _mm_unpacklo_epi16(load(2), load(3)));
  const __m256i even = _mm256_unpacklo_epi32(rows01, rows23);  // groups 0, 1, 4, 5
  const __m256i odd = _mm256_unpackhi_epi32(rows01, rows23);   // groups 2, 3, 6, 7
  out[0] = {_mm512_cvtph_ps(_mm256_permute2x128_si256(even, odd, 0x20))};
  out[1] = {_mm512_cvtph_ps(_mm256_permute2x128_si256(even, odd, 0x31))};
}
inline void LoadScales(const float* const* rows, Vector (&out)[2]) {
  for (int half = 0; half < 2; ++half) {
    float scales[16];
    for (int group = 0; group < 4; ++group) {
      for (int row = 0; row < 4; ++row) scales[4 * group + row] = rows[row][4 * half + group];
    }
    out[half] = Vector::Load(scales);
  }
}

/// Keeps the compiler from making a tree of a chain of sums.
inline void Pin(Integers&) {}

}  // namespace
}  // namespace mlc::cpu
