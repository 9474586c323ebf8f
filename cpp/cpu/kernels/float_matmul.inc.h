#pragma once

// A float matrix times x, in terms of Vector.

#include "cpu/kernels/float_block.inc.h"
#include "cpu/kernels/float_few.inc.h"

namespace mlc::cpu::floats {
namespace {

template <typename Value>
void Multiply(const Product& product, std::int64_t begin, std::int64_t end) {
  // Short vectors make long chains of sums: there, many rows side by side are better than memory's
  // order.
  constexpr bool kShort = kLanes < 8;
  if (!kShort && product.x_rows == 1) {
    for (std::int64_t n = begin; n < end; ++n) MultiplyOne<Value>(product, n);
  } else if (kShort && product.x_rows <= kFewXRows / 2) {
    for (std::int64_t n = begin; n < end; n += kTurnRows) {
      MultiplyFew<Value, 2 * kFewRows>(product, n, end);
    }
  } else if (product.x_rows <= kFewXRows) {
    for (std::int64_t n = begin; n < end; n += kTurnRows) MultiplyFew<Value>(product, n, end);
  } else {
    for (std::int64_t row = 0; row < product.x_rows; row += kMostXRows) {
      const std::int64_t left = product.x_rows - row;
      const std::int64_t count = left < kMostXRows ? left : kMostXRows;
      for (std::int64_t n = begin; n < end; n += kGroupRows) {
        MultiplyGroup<Value>(product, n, end, row, count);
      }
    }
  }
}

}  // namespace
}  // namespace mlc::cpu::floats
