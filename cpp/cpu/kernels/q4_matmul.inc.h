#pragma once

// A 4-bit matrix times x, in terms of Integers and Sums.

#include "cpu/kernels/q4_few.inc.h"
#include "cpu/kernels/q4_panel.inc.h"

namespace mlc::cpu::q4 {
namespace {

template <typename Scale>
void Multiply(const Product& product, std::int64_t begin, std::int64_t end) {
  if (product.x_rows > 3) {
    for (std::int64_t row = 0; row < product.x_rows; row += kXRows) {
      const std::int64_t last = row + kXRows < product.x_rows ? row + kXRows : product.x_rows;
      for (std::int64_t n = begin; n < end; n += kPanel) {
        MultiplyPanel<Scale>(product, n, row, last);
      }
    }
    return;
  }
  for (std::int64_t n = begin; n < end; n += kFewRows) {
    if (product.x_rows == 1) MultiplyFew<Scale, 1>(product, n);
    if (product.x_rows == 2) MultiplyFew<Scale, 2>(product, n);
    if (product.x_rows == 3) MultiplyFew<Scale, 3>(product, n);
  }
}

}  // namespace
}  // namespace mlc::cpu::q4
