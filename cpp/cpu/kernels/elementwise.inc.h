#pragma once

// Row operators in terms of Vector. Included by each row_kernels_*.cc, after its vector_*.h.

#include <cstdint>

#include "cpu/kernels/row_kernels.h"

namespace mlc::cpu {
namespace {

constexpr int kLanes = Vector::kLanes;

/// Fewer than a vector's values, then zeros.
inline Vector LoadPart(const float* p, std::int64_t count) {
  float lanes[kLanes] = {};
  for (std::int64_t i = 0; i < count; ++i) lanes[i] = p[i];
  return Vector::Load(lanes);
}

inline void StorePart(Vector v, float* p, std::int64_t count) {
  float lanes[kLanes];
  v.Store(lanes);
  for (std::int64_t i = 0; i < count; ++i) p[i] = lanes[i];
}

/// out[i] = f(x[i]); the last vector is filled up with zeros.
template <typename F>
inline void Map(const float* x, std::int64_t count, float* out, F f) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) f(Vector::Load(x + i)).Store(out + i);
  if (i < count) StorePart(f(LoadPart(x + i, count - i)), out + i, count - i);
}

/// out[i] = f(x[i], y[i])
template <typename F>
inline void Map(const float* x, const float* y, std::int64_t count, float* out, F f) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    f(Vector::Load(x + i), Vector::Load(y + i)).Store(out + i);
  }
  if (i < count) {
    StorePart(f(LoadPart(x + i, count - i), LoadPart(y + i, count - i)), out + i, count - i);
  }
}

/// e^x with a relative error below 2^-22; x is taken as at least -86 and at most 88.
/// Source: Cephes' expf (reduction by ln 2 in two parts, polynomial of degree 6).
inline Vector Exp(Vector x) {
  const auto constant = [](float value) { return Vector::Broadcast(value); };
  x = Min(constant(88), Max(constant(-86), x));
  const Vector n = Round(Mul(x, constant(1.44269504088896341f)));
  const Vector r = MulAdd(n, constant(2.12194440e-4f), MulAdd(n, constant(-0.693359375f), x));
  Vector p = constant(1.9875691500e-4f);
  p = MulAdd(p, r, constant(1.3981999507e-3f));
  p = MulAdd(p, r, constant(8.3334519073e-3f));
  p = MulAdd(p, r, constant(4.1665795894e-2f));
  p = MulAdd(p, r, constant(1.6666665459e-1f));
  p = MulAdd(p, r, constant(5.0000001201e-1f));
  p = MulAdd(Mul(r, r), p, Add(r, constant(1)));
  return Mul(p, PowerOfTwo(n));
}

/// x / (1 + e^-y)
inline Vector TimesSigmoid(Vector x, Vector y) {
  const Vector one = Vector::Broadcast(1);
  return Div(x, Add(one, Exp(Sub(Vector::Broadcast(0), y))));
}

/// cap * tanh(x / cap), by 1 - 2 / (e^(2x / cap) + 1): off by some 2^-23 of `cap`.
inline Vector CapValue(Vector x, Vector cap, Vector two_over_cap) {
  const Vector one = Vector::Broadcast(1);
  const Vector two = Vector::Broadcast(2);
  return Mul(cap, Sub(one, Div(two, Add(one, Exp(Mul(x, two_over_cap))))));
}

void Norm(const float* x, const float* weight, float epsilon, std::int64_t width, float* out) {
  Vector sums[4] = {Vector::Broadcast(0), Vector::Broadcast(0), Vector::Broadcast(0),
                    Vector::Broadcast(0)};
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= width; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) {
      const Vector v = Vector::Load(x + i + j * kLanes);
      sums[j] = MulAdd(v, v, sums[j]);
    }
  }
  for (; i < width; i += kLanes) {
    const Vector v = width - i < kLanes ? LoadPart(x + i, width - i) : Vector::Load(x + i);
    sums[0] = MulAdd(v, v, sums[0]);
  }
  const float sum = AddLanes(Add(Add(sums[0], sums[1]), Add(sums[2], sums[3])));
  const Vector mean = Vector::Broadcast(sum / static_cast<float>(width) + epsilon);
  const Vector scale = Div(Vector::Broadcast(1), Sqrt(mean));
  Map(x, weight, width, out, [scale](Vector v, Vector w) { return Mul(Mul(v, scale), w); });
}

void AddTo(const float* delta, std::int64_t width, float* x) {
  Map(x, delta, width, x, [](Vector a, Vector b) { return Add(a, b); });
}

void Silu(const float* gate, const float* up, std::int64_t width, float* out) {
  Map(gate, up, width, out, [](Vector g, Vector u) { return Mul(TimesSigmoid(g, g), u); });
}

/// 0.5 * x * (1 + tanh(y)) is x / (1 + e^(-2y)), with y = sqrt(2 / pi) * (x + 0.044715 * x^3).
void GeluTanh(const float* gate, const float* up, std::int64_t width, float* out) {
  const Vector linear = Vector::Broadcast(1.5957691216057308f);
  const Vector cubic = Vector::Broadcast(1.5957691216057308f * 0.044715f);
  Map(gate, up, width, out, [=](Vector g, Vector u) {
    const Vector y = Mul(g, MulAdd(Mul(g, g), cubic, linear));
    return Mul(TimesSigmoid(g, y), u);
  });
}

void Cap(float cap, std::int64_t count, float* x) {
  const Vector height = Vector::Broadcast(cap);
  const Vector slope = Vector::Broadcast(2 / cap);
  Map(x, count, x, [=](Vector v) { return CapValue(v, height, slope); });
}

void RotatePairs(const float* cosines, const float* sines, std::int64_t half, float* x) {
  for (std::int64_t i = 0; i < half; i += kLanes) {
    const std::int64_t count = half - i;
    const bool part = count < kLanes;
    const auto load = [=](const float* p) { return part ? LoadPart(p, count) : Vector::Load(p); };
    const auto store = [=](Vector v, float* p) { part ? StorePart(v, p, count) : v.Store(p); };
    const Vector a = load(x + i), b = load(x + half + i);
    const Vector cosine = load(cosines + i), sine = load(sines + i);
    store(Sub(Mul(a, cosine), Mul(b, sine)), x + i);
    store(MulAdd(a, sine, Mul(b, cosine)), x + half + i);
  }
}

}  // namespace
}  // namespace mlc::cpu
