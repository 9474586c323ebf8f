#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "cpu/widen.h"

// Only for the files that compile *.inc.h for one instruction set: see row_kernels.h.

namespace mlc::cpu {
namespace {

/// Eight floats in plain C++. Loops over them become whatever vectors the compiler has.
struct PortableVector {
  static constexpr int kLanes = 8;
  static constexpr int kRegisters = 8;  // of four floats, and compilers take long over more
  static constexpr int kWideBlock = 1;
  float lanes[kLanes];

  template <typename F>
  static PortableVector Make(F value) {
    PortableVector result;
    for (int i = 0; i < kLanes; ++i) result.lanes[i] = value(i);
    return result;
  }

  static PortableVector Load(const float* p) {
    return Make([p](int i) { return p[i]; });
  }
  static PortableVector Broadcast(float x) {
    return Make([x](int) { return x; });
  }
  static PortableVector LoadHalf(const std::uint16_t* p) {
    return Make([p](int i) { return Widen(p[i]); });
  }
  void Store(float* p) const {
    for (int i = 0; i < kLanes; ++i) p[i] = lanes[i];
  }
};

using Vector = PortableVector;

inline Vector Add(Vector a, Vector b) {
  return Vector::Make([&](int i) { return a.lanes[i] + b.lanes[i]; });
}
inline Vector Sub(Vector a, Vector b) {
  return Vector::Make([&](int i) { return a.lanes[i] - b.lanes[i]; });
}
inline Vector Mul(Vector a, Vector b) {
  return Vector::Make([&](int i) { return a.lanes[i] * b.lanes[i]; });
}
inline Vector Sqrt(Vector x) {
  return Vector::Make([&](int i) { return std::sqrt(x.lanes[i]); });
}
inline Vector Div(Vector a, Vector b) {
  return Vector::Make([&](int i) { return a.lanes[i] / b.lanes[i]; });
}

/// a * b + c
inline Vector MulAdd(Vector a, Vector b, Vector c) {
  return Vector::Make([&](int i) { return a.lanes[i] * b.lanes[i] + c.lanes[i]; });
}

/// The second where one of them is NaN.
inline Vector Max(Vector a, Vector b) {
  return Vector::Make([&](int i) { return a.lanes[i] > b.lanes[i] ? a.lanes[i] : b.lanes[i]; });
}
inline Vector Min(Vector a, Vector b) {
  return Vector::Make([&](int i) { return a.lanes[i] < b.lanes[i] ? a.lanes[i] : b.lanes[i]; });
}

/// To the nearest integer; for |x| below 2^22.
inline Vector Round(Vector x) {
  return Vector::Make([&](int i) { return x.lanes[i] + 0x1.8p23f - 0x1.8p23f; });
}

/// 2^n for an integer n from -126 to 127; anything for NaN.
inline Vector PowerOfTwo(Vector n) {
  return Vector::Make([&](int i) {
    const auto bits = std::bit_cast<std::uint32_t>(n.lanes[i] + (0x1.8p23f + 127.0f));
    return std::bit_cast<float>(bits << 23);
  });
}

inline float AddLanes(Vector v) {
  return ((v.lanes[0] + v.lanes[4]) + (v.lanes[2] + v.lanes[6])) +
         ((v.lanes[1] + v.lanes[5]) + (v.lanes[3] + v.lanes[7]));
}

inline float MaxLane(Vector v) {
  float most = v.lanes[0];
  for (int i = 1; i < Vector::kLanes; ++i) most = most > v.lanes[i] ? most : v.lanes[i];
  return most;
}

}  // namespace
}  // namespace mlc::cpu
