#include <immintrin.h>

#include "cpu/q4f16_kernel.h"

namespace mlc::cpu {
namespace {

constexpr int kLanes = 8;  // two groups
constexpr int kGroups = 2;

inline __m256i LoadWords(const std::uint32_t* words, std::int64_t count) {
  if (count >= kGroups) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
  return _mm256_zextsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)));
}

/// The scales of the next four groups, or of the one or two that are left.
inline __m128 LoadScales(const std::uint16_t* scales, std::int64_t count) {
  if (count == 1) return _mm_set_ss(_cvtsh_ss(*scales));
  if (count < 2 * kGroups) return _mm_cvtph_ps(_mm_loadu_si32(scales));
  return _mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales)));
}

/// Adds one block of `rows` weight rows times x to `totals`. `count` is how many groups of the row
/// are left; the block's second reads as zero where it is one. `scales[row]` holds the block's
/// scales at `spread`.
template <int rows>
inline void AddBlock(const std::uint32_t* words, std::int64_t groups, std::int64_t count,
                     const float* x, const __m128* scales, __m256i spread, __m256* totals) {
  __m256i block[rows];
  __m256 sums[rows];
  for (int row = 0; row < rows; ++row) {
    block[row] = LoadWords(words + row * groups * 4, count);
    sums[row] = _mm256_setzero_ps();
  }
  for (int i = 0; i < 8; ++i) {
    const __m256i mask = _mm256_set1_epi32(0xf << 4 * (i % 4));
    const __m256i bias = _mm256_set1_epi32(7 << 4 * (i % 4));
    const __m256 input = _mm256_loadu_ps(x + i * kLanes);
    for (int row = 0; row < rows; ++row) {
      if (i == 4) block[row] = _mm256_srli_epi32(block[row], 16);
      const __m256i value = _mm256_sub_epi32(_mm256_and_si256(block[row], mask), bias);
      sums[row] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(value), input, sums[row]);
    }
  }
  for (int row = 0; row < rows; ++row) {
    const __m256 scale = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(scales[row]), spread);
    totals[row] = _mm256_fmadd_ps(scale, sums[row], totals[row]);
  }
}

inline float AddLanes(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/// Asks for the scales of the next `rows` rows: 32 of each, which is a line of the cache.
template <int rows>
inline void PrefetchScales(const std::uint16_t* scales, std::int64_t groups) {
  for (int row = rows; row < 2 * rows; ++row) {
    _mm_prefetch(reinterpret_cast<const char*>(scales + row * groups), _MM_HINT_T0);
  }
}

template <int rows>
inline void MultiplyRows(const std::uint32_t* words, const std::uint16_t* scales,
                         std::int64_t groups, const float* x, float* out) {
  const __m256i first = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  const __m256i second = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
  __m256 totals[rows];
  for (int row = 0; row < rows; ++row) totals[row] = _mm256_setzero_ps();

  // Two blocks at a time: a line of the cache, and one conversion of scales.
  std::int64_t group = 0;
  for (; group + 2 * kGroups <= groups; group += 2 * kGroups) {
    if (group % 32 == 0) PrefetchScales<rows>(scales + group, groups);
    __m128 four[rows];
    for (int row = 0; row < rows; ++row) {
      // Rows follow each other: this is where the next `rows` rows will be read.
      _mm_prefetch(reinterpret_cast<const char*>(words + ((row + rows) * groups + group) * 4),
                   _MM_HINT_T0);
      four[row] = LoadScales(scales + row * groups + group, 2 * kGroups);
    }
    AddBlock<rows>(words + group * 4, groups, kGroups, x + group * 32, four, first, totals);
    AddBlock<rows>(words + group * 4 + kLanes, groups, kGroups, x + group * 32 + 8 * kLanes, four,
                   second, totals);
  }
  for (; group < groups; group += kGroups) {
    __m128 few[rows];
    for (int row = 0; row < rows; ++row) {
      few[row] = LoadScales(scales + row * groups + group, groups - group);
    }
    AddBlock<rows>(words + group * 4, groups, groups - group, x + group * 32, few, first, totals);
  }
  for (int row = 0; row < rows; ++row) out[row] = AddLanes(totals[row]);
}

void Multiply(const std::uint32_t* words, const std::uint16_t* scales, std::int64_t rows,
              std::int64_t groups, const float* x, float* out) {
  constexpr int kRows = 3;  // what 16 registers hold beside the constants
  std::int64_t row = 0;
  for (; row + kRows <= rows; row += kRows) {
    MultiplyRows<kRows>(words + row * groups * 4, scales + row * groups, groups, x, out + row);
  }
  for (; row < rows; ++row) {
    MultiplyRows<1>(words + row * groups * 4, scales + row * groups, groups, x, out + row);
  }
}

}  // namespace

const Q4F16Kernel kAvx2Kernel = {kLanes, Multiply};

}  // namespace mlc::cpu
