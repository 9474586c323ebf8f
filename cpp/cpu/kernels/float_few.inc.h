#pragma once

// A float matrix times one or a few rows of x: weights go straight from memory into products, so
// all that counts is the order in which memory is read.

#include "cpu/kernels/float_tile.inc.h"

namespace mlc::cpu::floats {
namespace {

// How far ahead memory is asked for weights: enough to hide the way to it and the change of pages.
constexpr std::int64_t kAheadBytes = 8192;

/// The total of a whole block. A chain of sums is slow, but a processor begins with the next block
/// before this one has ended.
template <typename Value>
inline Vector SumBlock(const Value* weights, const float* x) {
  constexpr std::int64_t kAhead = kAheadBytes / static_cast<std::int64_t>(sizeof(Value));
  Vector sum = Vector::Broadcast(0);
  for (std::int64_t line = 0; line < kBlockCols; line += kLineValues<Value>) {
    PrefetchOnce(weights + line + kAhead);
    for (std::int64_t k = line; k < line + kLineValues<Value>; k += kLanes) {
      sum = MulAdd(LoadValues(weights + k), Vector::Load(x + k), sum);
    }
  }
  return sum;
}

/// Row `n` of the matrix by the one row of x. So memory is read from end to end, in one stream.
template <typename Value>
void MultiplyOne(const Product& product, std::int64_t n) {
  const Value* weights = RowOf<Value>(product, n);
  Vector total = Vector::Broadcast(0);
  std::int64_t k = 0;
  for (; k + kBlockCols <= product.cols; k += kBlockCols) {
    total = Add(total, SumBlock(weights + k, product.x + k));
  }
  Vector sum = Vector::Broadcast(0);
  for (; k < product.cols; k += kLanes) {
    sum = MulAdd(LoadUpTo(weights, k, product.cols), LoadUpTo(product.x, k, product.cols), sum);
  }
  WriteResult(product, n, 0, Add(total, sum));
}

// Rows of the matrix that take turns, so that a block of x stays in L1; those of a tile; and how
// many of x a tile has totals for.
constexpr int kTurnRows = 12;
constexpr int kFewRows = 3;
constexpr int kFewXRows = Vector::kRegisters / 4;

/// Rows [n, end) of the matrix, kTurnRows at most, by up to kFewXRows rows of x, or by fewer with
/// more `tile_rows`.
template <typename Value, int tile_rows = kFewRows>
void MultiplyFew(const Product& product, std::int64_t n, std::int64_t end) {
  constexpr int most = kFewXRows * kFewRows / tile_rows;
  Vector totals[most][kTurnRows];
  for (auto& row : totals) {
    for (Vector& total : row) total = Vector::Broadcast(0);
  }
  for (std::int64_t first = 0; first < product.cols; first += kBlockCols) {
    const std::int64_t left = product.cols - first;
    const bool last = left <= kBlockCols;
    const std::int64_t cols = last ? left : kBlockCols;
    const std::int64_t ahead = last ? kTurnRows * product.cols - first : kBlockCols;
    for (int row = 0; row < kTurnRows && n + row < end; row += tile_rows) {
      const Value* weights[tile_rows];
      for (int i = 0; i < tile_rows; ++i) weights[i] = RowOf<Value>(product, n + row + i) + first;
      AddTileOf<most>(product.x_rows, weights,
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
