#pragma once

// Quantizes rows of x, in terms of Integers and QuantizeGroup.

#include "cpu/kernels/matmul_kernels.h"

namespace mlc::cpu {
namespace {

void Quantize(const Product& product, std::int64_t row) {
  constexpr std::int64_t block = Integers::kGroups;
  const QuantizedRows& quantized = product.quantized;
  const float* x = product.x + row * product.cols;
  for (std::int64_t group = 0; group < quantized.groups; ++group) {
    const std::int64_t index = row * quantized.groups + group;
    std::int8_t* values = quantized.values + index / block * block * 32 + index % block * 16;
    float last[32];
    const float* input = x + group * 32;
    if (product.cols - group * 32 < 32) {
      for (std::int64_t i = 0; i < 32; ++i) last[i] = group * 32 + i < product.cols ? input[i] : 0;
      input = last;
    }
    QuantizeGroup(input, values, 16 * block, quantized.scales + index, quantized.offsets + index);
  }
}

}  // namespace
}  // namespace mlc::cpu
