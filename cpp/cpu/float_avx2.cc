#include <immintrin.h>

#include "cpu/matmul_kernels.h"

namespace mlc::cpu::avx2 {
namespace {

constexpr std::int64_t kLanes = 8;
constexpr std::int64_t kBlockCols = 1024;  // of a few rows of both operands: they stay in L1
constexpr std::int64_t kBlockXRows = 24;   // whose part of a block of columns stays in L2

inline __m256 Load(const float* p) { return _mm256_loadu_ps(p); }
inline __m256 Load(const std::uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

/// The first `count` values, then zeros.
template <typename Value>
inline __m256 LoadFirst(const Value* p, std::int64_t count) {
  Value values[kLanes] = {};
  for (std::int64_t i = 0; i < count; ++i) values[i] = p[i];
  return Load(values);
}

inline float AddLanes(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/// Adds columns [first, last) of `rows` rows of the matrix times `x_rows` rows of x to `totals`.
/// One order for every tile: lane i of a total takes the columns k with k % 8 == i, ascending.
template <int rows, int x_rows, typename Value>
inline void AddTile(const Value* const* weights, const float* x, std::int64_t stride,
                    std::int64_t first, std::int64_t last, __m256 (*totals)[rows]) {
  __m256 sums[x_rows][rows];
  for (int r = 0; r < x_rows; ++r) {
    for (int i = 0; i < rows; ++i) sums[r][i] = totals[r][i];
  }
  std::int64_t k = first;
  for (; k + kLanes <= last; k += kLanes) {
    __m256 inputs[x_rows];
    for (int r = 0; r < x_rows; ++r) inputs[r] = Load(x + r * stride + k);
    for (int i = 0; i < rows; ++i) {
      const __m256 weight = Load(weights[i] + k);
      for (int r = 0; r < x_rows; ++r) sums[r][i] = _mm256_fmadd_ps(weight, inputs[r], sums[r][i]);
    }
  }
  if (k < last) {
    for (int r = 0; r < x_rows; ++r) {
      const __m256 input = LoadFirst(x + r * stride + k, last - k);
      for (int i = 0; i < rows; ++i) {
        sums[r][i] = _mm256_fmadd_ps(LoadFirst(weights[i] + k, last - k), input, sums[r][i]);
      }
    }
  }
  for (int r = 0; r < x_rows; ++r) {
    for (int i = 0; i < rows; ++i) totals[r][i] = sums[r][i];
  }
}

template <int rows, typename Value>
void AddBlock(const Value* const* weights, const float* x, std::int64_t x_rows, std::int64_t stride,
              std::int64_t first, std::int64_t last, __m256 (*totals)[rows]) {
  std::int64_t r = 0;
  for (; r + 3 <= x_rows; r += 3) {
    AddTile<rows, 3>(weights, x + r * stride, stride, first, last, totals + r);
  }
  if (x_rows - r == 2) AddTile<rows, 2>(weights, x + r * stride, stride, first, last, totals + r);
  if (x_rows - r == 1) AddTile<rows, 1>(weights, x + r * stride, stride, first, last, totals + r);
}

/// `rows` rows of the matrix from `n` on by `x_rows` rows of x, kBlockXRows at most.
template <typename Value, int rows>
void MultiplyRows(const Product& product, std::int64_t n, std::int64_t first_x_row,
                  std::int64_t x_rows) {
  __m256 totals[kBlockXRows][rows];
  for (std::int64_t r = 0; r < x_rows; ++r) {
    for (int i = 0; i < rows; ++i) totals[r][i] = _mm256_setzero_ps();
  }
  const Value* weights[rows];  // rows past the last are the last
  for (int i = 0; i < rows; ++i) {
    const std::int64_t row = n + i < product.rows ? n + i : product.rows - 1;
    weights[i] = static_cast<const Value*>(product.values) + row * product.cols;
  }
  const std::int64_t cols = product.cols;
  const float* x = product.x + first_x_row * cols;
  for (std::int64_t first = 0; first < cols; first += kBlockCols) {
    const std::int64_t last = first + kBlockCols < cols ? first + kBlockCols : cols;
    AddBlock<rows>(weights, x, x_rows, cols, first, last, totals);
  }
  for (std::int64_t r = 0; r < x_rows; ++r) {
    for (int i = 0; i < rows && n + i < product.rows; ++i) {
      const float sum = AddLanes(totals[r][i]);
      product.out[(first_x_row + r) * product.rows + n + i] =
          product.bias == nullptr ? sum : sum + product.bias[n + i];
    }
  }
}

template <typename Value>
void Multiply(const Product& product, std::int64_t begin, std::int64_t end) {
  if (product.x_rows < 3) {
    for (std::int64_t n = begin; n < end; n += 8) {
      MultiplyRows<Value, 8>(product, n, 0, product.x_rows);
    }
    return;
  }
  for (std::int64_t row = 0; row < product.x_rows; row += kBlockXRows) {
    const std::int64_t left = product.x_rows - row;
    const std::int64_t x_rows = left < kBlockXRows ? left : kBlockXRows;
    for (std::int64_t n = begin; n < end; n += 4) {
      MultiplyRows<Value, 4>(product, n, row, x_rows);
    }
  }
}

}  // namespace

void MultiplyFloat16(const Product& product, std::int64_t begin, std::int64_t end) {
  Multiply<std::uint16_t>(product, begin, end);
}

void MultiplyFloat32(const Product& product, std::int64_t begin, std::int64_t end) {
  Multiply<float>(product, begin, end);
}

}  // namespace mlc::cpu::avx2
