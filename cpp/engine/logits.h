#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/shortlist.h"

namespace mlc {

/// The greatest value; NaN where there is a NaN.
float Maximum(std::span<const float> x);

/// The `count` best, best first. Partial selection: cheap where `count` is small.
std::vector<Ranked> Best(std::span<const float> x, std::int32_t count);

/// x[i] = exp((x[i] - maximum) / temperature): logits become weights of at most 1. Returns their
/// sum. `maximum` is that of `x`, and finite; `temperature` is greater than 0.
double Exponentiate(float maximum, float temperature, std::span<float> x);

/// The token at `share` (of 1) of the weights' sum, laid one after another. Never one of weight 0.
std::int32_t TokenAt(std::span<const float> weights, double sum, double share);

}  // namespace mlc
