#include <bit>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "cpp/check.h"
#include "runtime/float16.h"

namespace {

using mlc::Float16ToFloat;
using mlc::FloatToFloat16;

constexpr int kInfinity = 0x7c00;

/// The definition of binary16, for finite patterns without sign.
float Define(int bits) {
  const int exponent = bits >> 10, mantissa = bits & 0x3ff;
  return exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                       : std::ldexp(static_cast<float>(mantissa + 0x400), exponent - 25);
}

void TestEveryPatternHasItsValue() {
  for (int bits = 0; bits < kInfinity; ++bits) {
    CHECK(Float16ToFloat(static_cast<std::uint16_t>(bits)) == Define(bits));
    CHECK(Float16ToFloat(static_cast<std::uint16_t>(bits | 0x8000)) == -Define(bits));
  }
  CHECK(std::signbit(Float16ToFloat(0x8000)));
  CHECK(Float16ToFloat(0x7c00) == std::numeric_limits<float>::infinity());
  CHECK(Float16ToFloat(0xfc00) == -std::numeric_limits<float>::infinity());
  for (int bits = kInfinity + 1; bits < 0x8000; ++bits) {
    CHECK(std::isnan(Float16ToFloat(static_cast<std::uint16_t>(bits))));
  }
}

/// Between two neighbours lies one boundary, halfway: what is below, on and above it tells all.
void TestEveryBoundaryRoundsToEven() {
  for (int bits = 0; bits < kInfinity; ++bits) {
    const float low = Define(bits);
    const float high = bits + 1 == kInfinity ? 65536.0f : Define(bits + 1);
    const float middle = low + (high - low) / 2;
    const int even = bits % 2 == 0 ? bits : bits + 1;
    for (const float sign : {1.0f, -1.0f}) {
      const int sign_bit = sign < 0 ? 0x8000 : 0;
      CHECK(FloatToFloat16(sign * low) == (sign_bit | bits));
      CHECK(FloatToFloat16(sign * std::nextafter(middle, 0.0f)) == (sign_bit | bits));
      CHECK(FloatToFloat16(sign * middle) == (sign_bit | even));
      CHECK(FloatToFloat16(sign * std::nextafter(middle, 1e9f)) == (sign_bit | (bits + 1)));
    }
  }
}

void TestWhatIsNotFinite() {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(FloatToFloat16(infinity) == 0x7c00);
  CHECK(FloatToFloat16(-infinity) == 0xfc00);
  CHECK(FloatToFloat16(std::numeric_limits<float>::max()) == 0x7c00);
  CHECK(std::isnan(Float16ToFloat(FloatToFloat16(std::numeric_limits<float>::quiet_NaN()))));
  CHECK(std::isnan(Float16ToFloat(FloatToFloat16(std::bit_cast<float>(0xff80'0001u)))));
}

}  // namespace

int main() {
  TestEveryPatternHasItsValue();
  TestEveryBoundaryRoundsToEven();
  TestWhatIsNotFinite();
}
