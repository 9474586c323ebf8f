#pragma once

#include <cstdint>

namespace mlc {

/// How the values of a matrix are stored.
enum class Encoding {
  kFloat32,
  kFloat16,
  kQ4Float16,  ///< 4 bits in groups of 32, float16 scales: MLC's q4f16_1
  kQ4Float32,  ///< the same with float32 scales: MLC's q4f32_1
};

/// View of a weight matrix [rows, cols] in host memory, row after row; owns nothing.
///
/// Quantized: the value at (n, k) is `(nibble - 7) * scale` where `nibble` is bits
/// [4 * (k % 8), +4) of the uint32 `values[n, k / 8]` and `scale` is `scales[n, k / 32]`. Rows are
/// padded to whole groups: `values` is [rows, groups() * 4], `scales` is [rows, groups()].
/// Source: mlc_llm's `group_quantization.py` (int4, uint32 storage, `linear_weight_layout` NK).
struct MatrixView {
  Encoding encoding = Encoding::kFloat32;
  std::int64_t rows = 0;         ///< N, output features
  std::int64_t cols = 0;         ///< K, input features
  const void* values = nullptr;  ///< aligned to 4 bytes at least
  const void* scales = nullptr;  ///< quantized only

  std::int64_t groups() const { return (cols + 31) / 32; }

  /// Of one row, scales included.
  std::int64_t row_bytes() const {
    switch (encoding) {
      case Encoding::kFloat32:
        return 4 * cols;
      case Encoding::kFloat16:
        return 2 * cols;
      case Encoding::kQ4Float16:
        return 18 * groups();
      case Encoding::kQ4Float32:
        break;
    }
    return 20 * groups();
  }

  bool quantized() const { return encoding >= Encoding::kQ4Float16; }
};

}  // namespace mlc
