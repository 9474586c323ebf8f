#pragma once

// A float matrix times many rows of x: a block of the matrix is unpacked into L1 and used for them.

#include "cpu/kernels/float_tile.inc.h"

namespace mlc::cpu::floats {
namespace {

// A tile's totals take three quarters of the registers.
constexpr int kTileRows = 4;
constexpr int kTileXRows = Vector::kRegisters * 3 / 4 / kTileRows;

constexpr int kBlockRows = 8;                // that are unpacked together
constexpr std::int64_t kMostXRows = 96;      // a block of so many rows of x stays in L2, and
constexpr std::int64_t kGroupRows = kPanel;  // is used for so many rows of the matrix

struct Group {
  alignas(64) float values[kBlockRows][kBlockCols];
  Vector totals[kMostXRows][kGroupRows];
};

/// Unpacks columns [first, first + cols) of kBlockRows rows from `n` on.
template <typename Value>
void Unpack(const Product& product, std::int64_t n, std::int64_t first, std::int64_t cols,
            Group& group) {
  for (int i = 0; i < kBlockRows; ++i) {
    const Value* values = RowOf<Value>(product, n + i) + first;
    for (std::int64_t k = 0; k < cols; k += kLanes) {
      LoadUpTo(values, k, cols).Store(group.values[i] + k);
    }
  }
}

/// Adds the unpacked block, whose rows are from `row` on in the group, times `x_rows` rows of x.
/// Meanwhile memory is asked for the block whose rows begin at `next`, a row's length apart.
template <typename Value>
void AddBlock(const Product& product, Group& group, std::int64_t row, std::int64_t x_rows,
              const float* x, std::int64_t cols, const Value* next) {
  std::int64_t tiles = (x_rows + kTileXRows - 1) / kTileXRows;
  for (std::int64_t r = 0; r < x_rows; --tiles) {
    const std::int64_t count = (x_rows - r) / tiles;
    for (int tile = 0; tile < kBlockRows; tile += kTileRows) {
      const float* weights[kTileRows];
      const Value* next_rows[kTileRows];
      for (int i = 0; i < kTileRows; ++i) {
        weights[i] = group.values[tile + i];
        next_rows[i] = next + (tile + i) * product.cols;
      }
      const TileInput input = {x + r * product.cols, product.cols, cols,
                               group.totals[r] + row + tile, kGroupRows};
      if (r == 0) {
        AddTileOf<kTileXRows>(count, weights, input,
                              [&](std::int64_t k) { FetchColumns(next_rows, k); });
      } else {
        AddTileOf<kTileXRows>(count, weights, input, [](std::int64_t) {});
      }
    }
    r += count;
  }
}

/// Rows [n, end) of the matrix, kGroupRows at most, by `x_rows` rows of x, kMostXRows at most.
template <typename Value>
void MultiplyGroup(const Product& product, std::int64_t n, std::int64_t end,
                   std::int64_t first_x_row, std::int64_t x_rows) {
  Group group;
  for (std::int64_t r = 0; r < x_rows; ++r) {
    for (Vector& total : group.totals[r]) total = Vector::Broadcast(0);
  }
  const float* x = product.x + first_x_row * product.cols;
  for (std::int64_t first = 0; first < product.cols; first += kBlockCols) {
    const std::int64_t left = product.cols - first;
    const std::int64_t cols = left < kBlockCols ? left : kBlockCols;
    for (std::int64_t row = 0; row < kGroupRows && n + row < end; row += kBlockRows) {
      const bool last_row = row + kBlockRows == kGroupRows;
      const bool last_cols = cols == left;
      const std::int64_t next_n = last_row && !last_cols ? n : n + row + kBlockRows;
      const std::int64_t next_first = !last_row ? first : last_cols ? 0 : first + kBlockCols;
      Unpack<Value>(product, n + row, first, cols, group);
      AddBlock(product, group, row, x_rows, x + first, cols,
               static_cast<const Value*>(product.values) + next_n * product.cols + next_first);
    }
  }
  for (std::int64_t r = 0; r < x_rows; ++r) {
    for (std::int64_t i = 0; i < kGroupRows && n + i < end; ++i) {
      WriteResult(product, n + i, first_x_row + r, group.totals[r][i]);
    }
  }
}

}  // namespace
}  // namespace mlc::cpu::floats
