#pragma once

#include <cstdint>
#include <span>

namespace mlc {

/// View of a weight matrix in MLC's q4f16_1 layout (group 32, NK order).
///
/// The value at (n, k) is `(nibble - 7) * scale` where `nibble` is bits [4 * (k % 8), +4) of
/// `words[n, k / 8]` and `scale` is the float16 `scales[n, k / 32]`. Rows are padded to whole
/// groups, so `words` is [rows, groups() * 4] and `scales` is [rows, groups()].
/// Source: mlc_llm's `group_quantization.py` (int4, uint32 storage, float16, `linear_weight_layout`
/// NK).
struct Q4F16Weight {
  std::int64_t rows = 0;  ///< N, output features
  std::int64_t cols = 0;  ///< K, input features
  std::span<const std::uint32_t> words;
  std::span<const std::uint16_t> scales;  ///< float16 bit patterns

  std::int64_t groups() const { return (cols + 31) / 32; }
};

/// A linear layer that lives on one device: out[N] = weight[N, K] @ x[K].
class Linear {
 public:
  virtual ~Linear() = default;

  /// `x` [K] and `out` [N] are float16 bit patterns in host memory; sums are float32.
  /// Safe to call from several threads at once. Throws std::runtime_error when the device fails.
  virtual void Apply(std::span<const std::uint16_t> x, std::span<std::uint16_t> out) = 0;
};

}  // namespace mlc
