#pragma once

// A 4-bit matrix times a few rows of x: weights go straight from memory into products.

#include "cpu/kernels/q4_rows.inc.h"

namespace mlc::cpu::q4 {
namespace {

constexpr int kFewRows = 4;  // of the matrix, side by side in the lanes of a total

/// Adds groups [first, first + kBlockGroups) of the matrix's rows times `x_rows` rows of x.
template <int x_rows, typename Scale>
inline void AddFew(const Rows<Scale, kFewRows>& rows, const QuantizedRows& x, std::int64_t first,
                   Vector (&totals)[x_rows]) {
  Vector scales[kBlockVectors];
  LoadScales(rows.scales, scales);
  for (int v = 0; v < kBlockVectors; ++v) {
    const std::int64_t group = first + v * kGroups;
    if (group >= x.groups) return;
    Integers sums[x_rows][kFewRows];
    for (int i = 0; i < kFewRows; ++i) {
      const Integers nibbles = Integers::Load(rows.bytes[i] + v * kGroups * 16);
      const Integers low = LowNibbles(nibbles), high = HighNibbles(nibbles);
      for (int r = 0; r < x_rows; ++r) {
        const std::int8_t* values = x.values + (group + r * x.groups) * 32;
        const Sums even = Dot(low, Integers::Load(values));
        sums[r][i] = Total(AddDot(even, high, Integers::Load(values + kGroups * 16)));
      }
    }
    for (int r = 0; r < x_rows; ++r) {
      const std::int64_t index = group + r * x.groups;
      const Integers sum = Subtract(AddNeighbours(sums[r]), Spread(x.offsets + index));
      totals[r] = MulAdd(ToFloats(sum), Mul(scales[v], Spread(x.scales + index)), totals[r]);
    }
  }
}

/// kFewRows rows of the matrix, from `n` on, by the `x_rows` rows of x.
template <typename Scale, int x_rows>
void MultiplyFew(const Product& product, std::int64_t n) {
  const QuantizedRows x = product.quantized;
  Vector totals[x_rows];
  for (Vector& total : totals) total = Vector::Broadcast(0);
  Rows<Scale, kFewRows> rows(product, n);
  for (std::int64_t group = 0; group < product.groups; group += kBlockGroups) {
    rows.Seek(group);
    rows.PrefetchNext(group);
    AddFew(rows, x, group, totals);
  }
  for (int r = 0; r < x_rows; ++r) {
    float lanes[kGroups][kFewRows];
    totals[r].Store(lanes[0]);
    for (int i = 0; i < kFewRows && n + i < product.rows; ++i) {
      float groups[kGroups];
      for (int g = 0; g < kGroups; ++g) groups[g] = lanes[g][i];
      const float sum = AddHalves(groups);
      product.out[r * product.rows + n + i] =
          product.bias == nullptr ? sum : sum + product.bias[n + i];
    }
  }
}

}  // namespace
}  // namespace mlc::cpu::q4
