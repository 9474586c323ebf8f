#pragma once

#include <cstdint>

namespace mlc {

/// Value of an IEEE 754 binary16 bit pattern; exact, subnormals, infinities and NaN included.
float Float16ToFloat(std::uint16_t bits);

/// Nearest binary16 bit pattern, ties to even; too large becomes infinity, NaN stays NaN.
std::uint16_t FloatToFloat16(float value);

}  // namespace mlc
