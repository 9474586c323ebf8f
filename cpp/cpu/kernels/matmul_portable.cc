#include <algorithm>
#include <bit>
#include <cmath>

#include "cpu/kernels/matmul_kernels.h"
#include "cpu/widen.h"

namespace mlc::cpu {
namespace {

// 1.5 * 2^23: added to a small float, it rounds that to an integer, ties to even.
constexpr float kRound = 0x1.8p23f;

void Quantize(const Product& product, std::int64_t row) {
  const QuantizedRows& quantized = product.quantized;
  const float* x = product.x + row * product.cols;
  for (std::int64_t group = 0; group < quantized.groups; ++group) {
    const std::int64_t first = group * 32;
    const std::int64_t count = std::clamp<std::int64_t>(product.cols - first, 0, 32);
    std::int32_t largest = 0;  // as bits: those of a NaN are above all others
    for (std::int64_t i = 0; i < count; ++i) {
      largest = std::max(largest, std::bit_cast<std::int32_t>(x[first + i]) & 0x7fff'ffff);
    }
    const float limit = std::bit_cast<float>(largest);
    const bool usable = limit >= kSmallestLimit && std::isfinite(limit);
    const float inverse = usable ? 127 / limit : 0;
    const std::int64_t index = row * quantized.groups + group;
    std::int8_t* values = quantized.values + index * 32;
    std::int32_t sum = 0;
    for (std::int64_t i = 0; i < 32; ++i) {
      const float rounded = usable && i < count ? (x[first + i] * inverse + kRound) - kRound : 0;
      const auto value = static_cast<std::int8_t>(rounded);
      values[i % 2 * 16 + i / 2] = value;
      sum += value;
    }
    quantized.scales[index] = limit < kSmallestLimit ? 0 : limit / 127;
    quantized.offsets[index] = 7 * sum;
  }
}

inline float ToFloat(float value) { return value; }
inline float ToFloat(std::uint16_t bits) { return Widen(bits); }

template <typename Scale>
float MultiplyRow(const std::uint8_t* bytes, const Scale* scales, std::int64_t groups,
                  const QuantizedRows& x, std::int64_t row) {
  float total = 0;
  for (std::int64_t group = 0; group < groups; ++group) {
    const std::int64_t index = row * x.groups + group;
    const std::int8_t* values = x.values + index * 32;
    std::int32_t sum = 0;
    for (std::int64_t i = 0; i < 16; ++i) {
      const std::uint8_t byte = bytes[group * 16 + i];
      sum += (byte & 0xf) * values[i] + (byte >> 4) * values[i + 16];
    }
    const float scale = ToFloat(scales[group]) * x.scales[index];
    total += static_cast<float>(sum - x.offsets[index]) * scale;
  }
  return total;
}

template <typename Scale>
void MultiplyQ4(const Product& product, std::int64_t begin, std::int64_t end) {
  const std::int64_t groups = product.groups;
  for (std::int64_t n = begin; n < end; ++n) {
    const std::uint8_t* bytes = static_cast<const std::uint8_t*>(product.values) + n * groups * 16;
    const Scale* scales = static_cast<const Scale*>(product.scales) + n * groups;
    const float bias = product.bias == nullptr ? 0 : product.bias[n];
    for (std::int64_t row = 0; row < product.x_rows; ++row) {
      product.out[row * product.rows + n] =
          MultiplyRow(bytes, scales, groups, product.quantized, row) + bias;
    }
  }
}

template <typename Value>
float MultiplyRow(const Value* values, const float* x, std::int64_t cols) {
  constexpr std::int64_t kLanes = 8;
  float totals[kLanes] = {};
  std::int64_t k = 0;
  for (; k + kLanes <= cols; k += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      totals[lane] += ToFloat(values[k + lane]) * x[k + lane];
    }
  }
  for (; k < cols; ++k) totals[k % kLanes] += ToFloat(values[k]) * x[k];
  float sum = 0;
  for (const float total : totals) sum += total;
  return sum;
}

template <typename Value>
void MultiplyFloat(const Product& product, std::int64_t begin, std::int64_t end) {
  for (std::int64_t n = begin; n < end; ++n) {
    const Value* values = static_cast<const Value*>(product.values) + n * product.cols;
    const float bias = product.bias == nullptr ? 0 : product.bias[n];
    for (std::int64_t row = 0; row < product.x_rows; ++row) {
      product.out[row * product.rows + n] =
          MultiplyRow(values, product.x + row * product.cols, product.cols) + bias;
    }
  }
}

}  // namespace

const MatMulKernels kPortableMatMul = {1,
                                       Quantize,
                                       MultiplyFloat<float>,
                                       MultiplyFloat<std::uint16_t>,
                                       MultiplyQ4<std::uint16_t>,
                                       MultiplyQ4<float>};

}  // namespace mlc::cpu
