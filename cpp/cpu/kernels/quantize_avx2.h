#pragma once

#include <immintrin.h>

#include <cstdint>

#include "cpu/kernels/matmul_kernels.h"

// Only for the files that compile *.inc.h for one instruction set: see matmul_kernels.h.

namespace mlc::cpu {
namespace {

inline std::int32_t AddLanes(__m256i v) {
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

inline std::int32_t LargestLane(__m256i v) {
  const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

/// 32 values of x: the even ones go to values[0, 16), the odd ones to values[distance, +16).
inline void QuantizeGroup(const float* x, std::int8_t* values, std::int64_t distance, float* scale,
                          std::int32_t* offset) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fff'ffff);
  __m256 input[4];
  __m256i largest = _mm256_setzero_si256();  // as bits: those of a NaN are above all others
  for (int i = 0; i < 4; ++i) {
    input[i] = _mm256_loadu_ps(x + 8 * i);
    largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(input[i]), magnitude));
  }
  const float limit = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(LargestLane(largest))));
  const bool tiny = limit < kSmallestLimit;
  const __m256 inverse = _mm256_set1_ps(tiny ? 0 : 127 / limit);
  __m256i integers[4];
  for (int i = 0; i < 4; ++i) integers[i] = _mm256_cvtps_epi32(_mm256_mul_ps(input[i], inverse));
  *scale = tiny ? 0 : limit / 127;
  const std::int32_t sum = AddLanes(_mm256_add_epi32(_mm256_add_epi32(integers[0], integers[1]),
                                                     _mm256_add_epi32(integers[2], integers[3])));
  // Infinity and NaN become integers too large to multiply; the scale alone carries them on.
  *offset = limit <= 0x1.fffffep127f ? 7 * sum : 0;

  // Fours of k: 0, 2, 4, 6 in the low half, 1, 3, 5, 7 in the high one.
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(integers[0], integers[1]),
                                           _mm256_packs_epi32(integers[2], integers[3]));
  const __m256i parted =
      _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(_mm_setr_epi8(
                                     0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)));
  const __m128i low = _mm256_castsi256_si128(parted), high = _mm256_extracti128_si256(parted, 1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(values), _mm_unpacklo_epi16(low, high));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(values + distance), _mm_unpackhi_epi16(low, high));
}

}  // namespace
}  // namespace mlc::cpu
