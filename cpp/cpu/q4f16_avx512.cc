#include <immintrin.h>

#include "cpu/q4f16_kernel.h"

namespace mlc::cpu {
namespace {

constexpr int kLanes = 16;  // four groups
constexpr int kGroups = 4;

/// Adds one block of `rows` weight rows times x to `totals`. `count` is how many of the block's
/// groups there are; the rest read as zero.
template <int rows>
inline void AddBlock(const std::uint32_t* words, const std::uint16_t* scales, std::int64_t groups,
                     unsigned count, const float* x, __m512* totals) {
  const __m512 differences = _mm512_setr_ps(-7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8);
  const __m512i spread = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  const auto word_mask = static_cast<__mmask16>((1u << 4 * count) - 1);
  const auto scale_mask = static_cast<__mmask8>((1u << count) - 1);

  __m512i block[rows];
  __m512 sums[rows];
  for (int row = 0; row < rows; ++row) {
    const std::uint32_t* row_words = words + row * groups * 4;
    // Rows follow each other: this is where the next `rows` rows will be read.
    _mm_prefetch(reinterpret_cast<const char*>(row_words + rows * groups * 4), _MM_HINT_T0);
    block[row] = _mm512_maskz_loadu_epi32(word_mask, row_words);
    sums[row] = _mm512_setzero_ps();
  }
  for (unsigned i = 0; i < 8; ++i) {
    const __m512 values =
        _mm512_mul_ps(differences, _mm512_set1_ps(static_cast<float>(1 << 4 * (i % 4))));
    const __m512 input = _mm512_loadu_ps(x + i * kLanes);
    for (int row = 0; row < rows; ++row) {
      // A permutation reads the lowest four bits only: it needs no mask. It looks up a difference.
      if (i == 4) block[row] = _mm512_srli_epi32(block[row], 16);
      const __m512i index = _mm512_srli_epi32(block[row], 4 * (i % 4));
      sums[row] = _mm512_fmadd_ps(_mm512_permutexvar_ps(index, values), input, sums[row]);
    }
  }
  for (int row = 0; row < rows; ++row) {
    const __m128 few = _mm_cvtph_ps(_mm_maskz_loadu_epi16(scale_mask, scales + row * groups));
    const __m512 scale = _mm512_permutexvar_ps(spread, _mm512_castps128_ps512(few));
    totals[row] = _mm512_fmadd_ps(scale, sums[row], totals[row]);
  }
}

// Through memory: GCC 12 warns of its own header where the halves are taken apart in registers.
inline float AddLanes(__m512 v) {
  float lanes[kLanes];
  _mm512_storeu_ps(lanes, v);
  const __m256 eight = _mm256_add_ps(_mm256_loadu_ps(lanes), _mm256_loadu_ps(lanes + 8));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
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
  __m512 totals[rows];
  for (int row = 0; row < rows; ++row) totals[row] = _mm512_setzero_ps();
  std::int64_t group = 0;
  for (; group + kGroups <= groups; group += kGroups) {
    if (group % 32 == 0) PrefetchScales<rows>(scales + group, groups);
    AddBlock<rows>(words + group * 4, scales + group, groups, kGroups, x + group * 32, totals);
  }
  if (group < groups) {
    AddBlock<rows>(words + group * 4, scales + group, groups, static_cast<unsigned>(groups - group),
                   x + group * 32, totals);
  }
  for (int row = 0; row < rows; ++row) out[row] = AddLanes(totals[row]);
}

void Multiply(const std::uint32_t* words, const std::uint16_t* scales, std::int64_t rows,
              std::int64_t groups, const float* x, float* out) {
  constexpr int kRows = 4;
  std::int64_t row = 0;
  for (; row + kRows <= rows; row += kRows) {
    MultiplyRows<kRows>(words + row * groups * 4, scales + row * groups, groups, x, out + row);
  }
  for (; row < rows; ++row) {
    MultiplyRows<1>(words + row * groups * 4, scales + row * groups, groups, x, out + row);
  }
}

}  // namespace

const Q4F16Kernel kAvx512Kernel = {kLanes, Multiply};

}  // namespace mlc::cpu
