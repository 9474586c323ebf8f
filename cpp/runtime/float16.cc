#include "runtime/float16.h"

#include <bit>

namespace mlc {
namespace {

constexpr std::uint32_t kInfinity16 = 0x7c00;
constexpr std::uint32_t kInfinity32 = 0x7f80'0000;

// Exponents are biased by 15 in binary16 and by 127 in binary32; mantissas have 10 and 23 bits.
constexpr std::uint32_t kMantissaShift = 23 - 10;
constexpr std::uint32_t kBiasDifference = 127 - 15;

}  // namespace

float Float16ToFloat(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
  const std::uint32_t magnitude = bits & 0x7fff;
  if (magnitude >= kInfinity16) {
    return std::bit_cast<float>(sign | kInfinity32 | (magnitude & 0x3ff) << kMantissaShift);
  }
  if (magnitude < 0x400) {  // zero or subnormal: a multiple of 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
  }
  return std::bit_cast<float>(sign | ((magnitude << kMantissaShift) + (kBiasDifference << 23)));
}

std::uint16_t FloatToFloat16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000;
  const std::uint32_t magnitude = bits & 0x7fff'ffff;
  std::uint32_t result;
  if (magnitude > kInfinity32) {
    result = kInfinity16 | 0x200;
  } else if (magnitude >= std::bit_cast<std::uint32_t>(65520.0f)) {  // rounds past the largest
    result = kInfinity16;
  } else if (magnitude < std::bit_cast<std::uint32_t>(0x1p-14f)) {
    // Adding 0.5 leaves the multiple of 2^-24 in the low bits, rounded by the hardware.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    result = std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(0.5f);
  } else {
    const std::uint32_t odd = magnitude >> kMantissaShift & 1;
    result = (magnitude - (kBiasDifference << 23) + 0xfff + odd) >> kMantissaShift;
  }
  return static_cast<std::uint16_t>(sign | result);
}

}  // namespace mlc
