#pragma once

// A float matrix times x, in terms of Vector.
//
// One order of sums everywhere: lane i of a total takes the columns k with k % kLanes == i,
// ascending.

#include <cstdint>

#include "cpu/kernels/matmul_kernels.h"
#include "cpu/kernels/prefetch.h"

namespace mlc::cpu::floats {
namespace {

constexpr int kLanes = Vector::kLanes;

// Eight rows of the matrix at once, by one or two of x: fewer do not keep memory busy.
constexpr int kFewRows = 8;

// A tile's totals take three quarters of the registers.
constexpr int kTileRows = 4;
constexpr int kTileXRows = Vector::kRegisters * 3 / 4 / kTileRows;

// Rows and columns of the matrix that are unpacked into L1, and values of x that stay in L2 for all
// of the matrix's rows.
constexpr int kBlockRows = 8;
constexpr std::int64_t kBlockCols = 512;
constexpr std::int64_t kL2Values = 128 * 1024;
constexpr std::int64_t kMostXRows = 96;

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

// --- A few rows of x: weights go straight from memory into products.

template <typename Value, int x_rows>
void MultiplyFew(const Product& product, std::int64_t n) {
  const std::int64_t cols = product.cols;
  const Value* weights[kFewRows];
  for (int i = 0; i < kFewRows; ++i) weights[i] = RowOf<Value>(product, n + i);
  Vector totals[x_rows][kFewRows];
  for (auto& row : totals) {
    for (Vector& total : row) total = Vector::Broadcast(0);
  }
  const auto add = [&](std::int64_t k, auto load) {
    Vector inputs[x_rows];
    for (int r = 0; r < x_rows; ++r) inputs[r] = load(product.x + r * cols, k);
    for (int i = 0; i < kFewRows; ++i) {
      const Vector values = load(weights[i], k);
      for (int r = 0; r < x_rows; ++r) totals[r][i] = MulAdd(values, inputs[r], totals[r][i]);
    }
  };
  std::int64_t k = 0;
  for (; k + kLanes <= cols; k += kLanes) {
    add(k, [](const auto* p, std::int64_t i) { return LoadValues(p + i); });
  }
  if (k < cols) add(k, [cols](const auto* p, std::int64_t i) { return LoadUpTo(p, i, cols); });
  for (int r = 0; r < x_rows; ++r) {
    for (int i = 0; i < kFewRows && n + i < product.rows; ++i) {
      WriteResult(product, n + i, r, totals[r][i]);
    }
  }
}

// --- Many rows of x: a block of the matrix is unpacked and used for all of them.

struct Block {
  alignas(64) float values[kBlockRows][kBlockCols];
  Vector totals[kMostXRows][kBlockRows];
};

/// Columns [first, first + cols) of the rows from `n` on. Memory gets the time that these are used
/// for to bring the next ones.
template <typename Value>
void Unpack(const Product& product, std::int64_t n, std::int64_t first, std::int64_t cols,
            Block& block) {
  const bool last = first + cols == product.cols;
  for (int i = 0; i < kBlockRows; ++i) {
    const Value* values = RowOf<Value>(product, n + i) + first;
    const Value* next = last ? RowOf<Value>(product, n + kBlockRows + i) : values + kBlockCols;
    for (std::int64_t k = 0; k < cols; k += kLanes) {
      LoadUpTo(values, k, cols).Store(block.values[i] + k);
      if (k % (64 / static_cast<int>(sizeof(Value))) == 0) Prefetch(next + k);
    }
  }
}

/// Adds `cols` columns of kTileRows rows of the block, from `row` on, times `x_rows` rows of x,
/// which are a `stride` apart.
template <int x_rows>
inline void AddTile(const Block& block, int row, const float* x, std::int64_t stride,
                    std::int64_t cols, Vector (*totals)[kBlockRows]) {
  Vector sums[x_rows][kTileRows];
  for (int r = 0; r < x_rows; ++r) {
    for (int i = 0; i < kTileRows; ++i) sums[r][i] = totals[r][row + i];
  }
  const auto add = [&](std::int64_t k, auto load) {
    Vector inputs[x_rows];
    for (int r = 0; r < x_rows; ++r) inputs[r] = load(x + r * stride, k);
    for (int i = 0; i < kTileRows; ++i) {
      const Vector weights = Vector::Load(block.values[row + i] + k);
      for (int r = 0; r < x_rows; ++r) sums[r][i] = MulAdd(weights, inputs[r], sums[r][i]);
    }
  };
  std::int64_t k = 0;
  for (; k + kLanes <= cols; k += kLanes) {
    add(k, [](const float* p, std::int64_t i) { return Vector::Load(p + i); });
  }
  if (k < cols) add(k, [cols](const float* p, std::int64_t i) { return LoadUpTo(p, i, cols); });
  for (int r = 0; r < x_rows; ++r) {
    for (int i = 0; i < kTileRows; ++i) totals[r][row + i] = sums[r][i];
  }
}

/// Adds all rows of the block times rows [x_row, x_rows) of x, in tiles of `most` and less.
template <int most>
void AddTiles(Block& block, std::int64_t x_row, const float* x, std::int64_t x_rows,
              std::int64_t stride, std::int64_t cols) {
  for (; x_row + most <= x_rows; x_row += most) {
    for (int row = 0; row < kBlockRows; row += kTileRows) {
      AddTile<most>(block, row, x + x_row * stride, stride, cols, block.totals + x_row);
    }
  }
  if constexpr (most > 1) AddTiles<most - 1>(block, x_row, x, x_rows, stride, cols);
}

/// kBlockRows rows of the matrix from `n` on by `x_rows` rows of x, kMostXRows at most.
template <typename Value>
void MultiplyBlock(const Product& product, std::int64_t n, std::int64_t first_x_row,
                   std::int64_t x_rows) {
  Block block;
  for (std::int64_t r = 0; r < x_rows; ++r) {
    for (Vector& total : block.totals[r]) total = Vector::Broadcast(0);
  }
  const float* x = product.x + first_x_row * product.cols;
  for (std::int64_t first = 0; first < product.cols; first += kBlockCols) {
    const std::int64_t left = product.cols - first;
    const std::int64_t cols = left < kBlockCols ? left : kBlockCols;
    Unpack<Value>(product, n, first, cols, block);
    AddTiles<kTileXRows>(block, 0, x + first, x_rows, product.cols, cols);
  }
  for (std::int64_t r = 0; r < x_rows; ++r) {
    for (int i = 0; i < kBlockRows && n + i < product.rows; ++i) {
      WriteResult(product, n + i, first_x_row + r, block.totals[r][i]);
    }
  }
}

/// How many rows of x, whole tiles of them, stay in L2.
inline std::int64_t CountXRows(std::int64_t cols) {
  const std::int64_t tiles = kL2Values / cols / kTileXRows;
  const std::int64_t most = kMostXRows / kTileXRows;
  return (tiles < 1 ? 1 : tiles > most ? most : tiles) * kTileXRows;
}

template <typename Value>
void Multiply(const Product& product, std::int64_t begin, std::int64_t end) {
  if (product.x_rows < 3) {
    for (std::int64_t n = begin; n < end; n += kFewRows) {
      if (product.x_rows == 1) MultiplyFew<Value, 1>(product, n);
      if (product.x_rows == 2) MultiplyFew<Value, 2>(product, n);
    }
    return;
  }
  const std::int64_t x_rows = CountXRows(product.cols);
  for (std::int64_t row = 0; row < product.x_rows; row += x_rows) {
    const std::int64_t left = product.x_rows - row;
    for (std::int64_t n = begin; n < end; n += kBlockRows) {
      MultiplyBlock<Value>(product, n, row, left < x_rows ? left : x_rows);
    }
  }
}

}  // namespace
}  // namespace mlc::cpu::floats
