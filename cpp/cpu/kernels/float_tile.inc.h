#pragma once

// What all products of a float matrix have in common, in terms of Vector.
//
// One order of sums everywhere: the columns are cut into blocks of kBlockCols. Lane i of a block's
// total takes its columns k with k % kLanes == i, ascending; blocks are added in order, lanes last.

#include <cstdint>

#include "cpu/kernels/matmul_kernels.h"
#include "cpu/kernels/prefetch.h"

namespace mlc::cpu::floats {
namespace {

constexpr int kLanes = Vector::kLanes;
constexpr std::int64_t kBlockCols = 512;

template <typename Value>
constexpr std::int64_t kLineValues = 64 / sizeof(Value);  // of a cache line

inline Vector LoadValues(const float* p) { return Vector::Load(p); }
inline Vector LoadValues(const std::uint16_t* p) { return Vector::LoadHalf(p); }

/// The vector at p[k] of `cols` values, with zeros behind the last.
template <typename Value>
inline Vector LoadUpTo(const Value* p, std::int64_t k, std::int64_t cols) {
  if (k + kLanes <= cols) return LoadValues(p + k);
  Value values[kLanes] = {};
  for (std::int64_t i = 0; k + i < cols; ++i) values[i] = p[k + i];
  return LoadValues(values);
}

/// Row `n` of the matrix; rows past the last are the last.
template <typename Value>
inline const Value* RowOf(const Product& product, std::int64_t n) {
  const std::int64_t row = n < product.rows ? n : product.rows - 1;
  return static_cast<const Value*>(product.values) + row * product.cols;
}

inline void WriteResult(const Product& product, std::int64_t n, std::int64_t x_row, Vector total) {
  const float sum = AddLanes(total);
  product.out[x_row * product.rows + n] = product.bias == nullptr ? sum : sum + product.bias[n];
}

/// A block's part of some rows of x, which are `stride` apart, and where its totals are added:
/// totals[r * totals_stride + i] is of row r of x and row i of the matrix.
struct TileInput {
  const float* x;
  std::int64_t stride;
  std::int64_t cols;
  Vector* totals;
  std::int64_t totals_stride;
};

/// Asks memory for the lines that columns k of some rows begin.
template <typename Value, int rows>
inline void FetchColumns(const Value* const (&weights)[rows], std::int64_t k) {
  if (k % kLineValues<Value> != 0) return;
  for (const Value* row : weights) Prefetch(row + k);
}

/// Adds a block of `rows` rows of the matrix times `x_rows` of x. `fetch` is told of each column k.
template <int x_rows, int rows, typename Value, typename Fetch>
inline void AddTile(const Value* const (&weights)[rows], const TileInput& input, Fetch fetch) {
  Vector sums[x_rows][rows];
  for (auto& row : sums) {
    for (Vector& sum : row) sum = Vector::Broadcast(0);
  }
  const auto add = [&](std::int64_t k, auto load) {
    Vector values[rows];
    for (int i = 0; i < rows; ++i) values[i] = load(weights[i], k);
    for (int r = 0; r < x_rows; ++r) {
      const Vector x = load(input.x + r * input.stride, k);
      for (int i = 0; i < rows; ++i) sums[r][i] = MulAdd(values[i], x, sums[r][i]);
    }
  };
  const std::int64_t cols = input.cols;
  std::int64_t k = 0;
  for (; k + kLanes <= cols; k += kLanes) {
    fetch(k);
    add(k, [](const auto* p, std::int64_t i) { return LoadValues(p + i); });
  }
  if (k < cols) add(k, [cols](const auto* p, std::int64_t i) { return LoadUpTo(p, i, cols); });
  for (int r = 0; r < x_rows; ++r) {
    for (int i = 0; i < rows; ++i) {
      Vector& total = input.totals[r * input.totals_stride + i];
      total = Add(total, sums[r][i]);
    }
  }
}

/// AddTile for a number of rows of x that is known late, `most` at most.
template <int most, int rows, typename Value, typename Fetch>
inline void AddTileOf(std::int64_t x_rows, const Value* const (&weights)[rows],
                      const TileInput& input, Fetch fetch) {
  if (x_rows == most) return AddTile<most>(weights, input, fetch);
  if constexpr (most > 1) AddTileOf<most - 1>(x_rows, weights, input, fetch);
}

}  // namespace
}  // namespace mlc::cpu::floats
