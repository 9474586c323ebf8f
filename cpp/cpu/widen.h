#pragma once

#include <bit>
#include <cstdint>

// Not for the files that are compiled for one instruction set: see matmul_kernels.h.

namespace mlc::cpu {

/// Float16ToFloat (runtime/float16.h) without branches, so that loops of it become vector code.
inline float Widen(std::uint16_t bits) {
  constexpr std::uint32_t kBiasDifference = (127u - 15u) << 23;
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
  const std::uint32_t magnitude = bits & 0x7fff;
  const std::uint32_t special = magnitude >= 0x7c00 ? kBiasDifference : 0;  // infinity and NaN
  const std::uint32_t normal = (magnitude << 13) + kBiasDifference + special;
  const float subnormal = static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f;
  return std::bit_cast<float>(
      sign | (magnitude < 0x400 ? std::bit_cast<std::uint32_t>(subnormal) : normal));
}

}  // namespace mlc::cpu
