#pragma once

// A float matrix times one or a few rows of x: weights go straight from memory into products, so
// all that counts is the order in which memory is read.

#include "cpu/kernels/float_tile.inc.h"

namespace mlc::cpu::floats {
namespace {

// A processor that reads this far ahead waits little.
constexpr std::int64_t kAheadBytes = 8192;

// Blocks of one row that are summed up side by side: one chain of sums is slower than memory.
constexpr int kChains = 4;

/// Adds `blocks` whole blocks of a row of the matrix times x, `most` and less at a time.
template <int most, typename Value>
inline void AddBlocks(const Value* weights, const float* x, std::int64_t blocks, Vector& total) {
  for (; blocks >= most; blocks -= most, weights += most * kBlockCols, x += most * kBlockCols) {
    Vector sums[most];
    for (Vector& sum : sums) sum = Vector::Broadcast(0);
    for (std::int64_t line = 0; line < kBlockCols; line += kLineValues<Value>) {
      for (int i = 0; i < most; ++i) {
        const std::int64_t first = i * kBlockCols + line;
        Prefetch(weights + first + kAheadBytes / static_cast<int>(sizeof(Value)));
        for (std::int64_t k = first; k < first + kLineValues<Value>; k += kLanes) {
          sums[i] = MulAdd(LoadValues(weights + k), Vector::Load(x + k), sums[i]);
        }
      }
    }
    for (const Vector& sum : sums) total = Add(total, sum);
  }
  if constexpr (most > 1) AddBlocks<most - 1>(weights, x, blocks, total);
}

/// Row `n` of the matrix by the one row of x. Row after row, memory is read from end to end.
template <typename Value>
void MultiplyOne(const Product& product, std::int64_t n) {
  const Value* weights = RowOf<Value>(product, n);
  const std::int64_t blocks = product.cols / kBlockCols;
  Vector total = Vector::Broadcast(0);
  AddBlocks<kChains>(weights, product.x, blocks, total);
  Vector sum = Vector::Broadcast(0);
  for (std::int64_t k = blocks * kBlockCols; k < product.cols; k += kLanes) {
    sum = MulAdd(LoadUpTo(weights, k, product.cols), LoadUpTo(product.x, k, product.cols), sum);
  }
  WriteResult(product, n, 0, Add(total, sum));
}

// Rows of the matrix that take turns, so that a block of x stays in L1; those of a tile; and how
// many of x a tile has totals for.
constexpr int kTurnRows = 12;
constexpr int kFewRows = 3;
constexpr int kFewXRows = Vector::kRegisters / 4;

/// Rows [n, end) of the matrix, kTurnRows at most, by 2 to kFewXRows rows of x.
template <typename Value>
void MultiplyFew(const Product& product, std::int64_t n, std::int64_t end) {
  Vector totals[kFewXRows][kTurnRows];
  for (auto& row : totals) {
    for (Vector& total : row) total = Vector::Broadcast(0);
  }
  for (std::int64_t first = 0; first < product.cols; first += kBlockCols) {
    const std::int64_t left = product.cols - first;
    const bool last = left <= kBlockCols;
    const std::int64_t cols = last ? left : kBlockCols;
    const std::int64_t ahead = last ? kTurnRows * product.cols - first : kBlockCols;
    for (int row = 0; row < kTurnRows && n + row < end; row += kFewRows) {
      const Value* weights[kFewRows];
      for (int i = 0; i < kFewRows; ++i) weights[i] = RowOf<Value>(product, n + row + i) + first;
      AddTileOf<kFewXRows>(product.x_rows, weights,
                           {product.x + first, product.cols, cols, totals[0] + row, kTurnRows},
                           [&](std::int64_t k) { FetchColumns(weights, k + ahead); });
    }
  }
  for (std::int64_t r = 0; r < product.x_rows; ++r) {
    for (int i = 0; i < kTurnRows && n + i < end; ++i) WriteResult(product, n + i, r, totals[r][i]);
  }
}

}  // namespace
}  // namespace mlc::cpu::floats
