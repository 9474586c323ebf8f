#include "engine/logits.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <functional>
#include <limits>

namespace mlc {
namespace {

// Loops run over lanes side by side, which compilers turn into vectors as they stand: sums and
// maxima in one variable would have to keep their order.
constexpr std::size_t kLanes = 16;
constexpr std::size_t kBlock = 256;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

/// exp(x) for x <= 0, to 2 ulp; 0 below the normal numbers. Source: Cephes' expf.
inline float Exp(float x) {
  constexpr float kLeast = -87.0f;
  constexpr float kRound = 0x1.8p23f;  // adding it leaves no bits for a fraction
  const float y = x > kLeast ? x : kLeast;
  const float n = (y * 1.44269504f + kRound) - kRound;
  const float r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float mantissa = p * r * r + r + 1.0f;
  const float power = std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
  return x > kLeast ? mantissa * power : 0.0f;
}

float BlockMaximum(std::span<const float> x) {
  std::array<float, kLanes> lanes;
  lanes.fill(kLowest);
  std::array<std::uint32_t, kLanes> nans{};
  std::size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float value = x[i + lane];
      lanes[lane] = value > lanes[lane] ? value : lanes[lane];
      nans[lane] |= value != value ? 1u : 0u;
    }
  }
  for (; i < x.size(); ++i) {
    lanes[0] = std::max(lanes[0], x[i]);
    nans[0] |= x[i] != x[i] ? 1u : 0u;
  }
  if (std::ranges::count(nans, 0u) != kLanes) return std::numeric_limits<float>::quiet_NaN();
  return *std::ranges::max_element(lanes);
}

float BlockSum(std::span<const float> x) {
  std::array<float, kLanes> lanes{};
  std::size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += x[i + lane];
  }
  for (; i < x.size(); ++i) lanes[0] += x[i];
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

/// Calls `body(first index, block)` for each block of `x`, until it returns false.
template <typename Body>
void ForEachBlock(std::span<const float> x, Body body) {
  for (std::size_t first = 0; first < x.size(); first += kBlock) {
    if (!body(first, x.subspan(first, std::min(kBlock, x.size() - first)))) return;
  }
}

}  // namespace

float Maximum(std::span<const float> x) { return BlockMaximum(x); }

std::vector<Ranked> Best(std::span<const float> x, std::int32_t count) {
  const std::size_t wanted = std::min(static_cast<std::size_t>(count), x.size());
  if (wanted == 0) return {};
  std::vector<float> maxima;
  maxima.reserve(x.size() / kBlock + 1);
  ForEachBlock(x, [&](std::size_t, std::span<const float> block) {
    maxima.push_back(BlockMaximum(block));
    return true;
  });
  // That many blocks have a value as great as this one, so none of the best is less.
  float least = kLowest;
  if (wanted <= maxima.size()) {
    std::vector<float> ordered = maxima;
    const auto place = ordered.begin() + static_cast<std::ptrdiff_t>(wanted - 1);
    std::nth_element(ordered.begin(), place, ordered.end(), std::greater<>());
    least = *place;
  }
  std::vector<Ranked> best;
  ForEachBlock(x, [&](std::size_t first, std::span<const float> block) {
    if (maxima[first / kBlock] < least) return true;
    for (std::size_t i = 0; i < block.size(); ++i) {
      if (block[i] >= least) best.push_back({block[i], static_cast<std::int32_t>(first + i)});
    }
    return true;
  });
  const auto end = best.begin() + static_cast<std::ptrdiff_t>(wanted);
  std::nth_element(best.begin(), end - 1, best.end());
  best.erase(end, best.end());
  std::ranges::sort(best, std::less<>());
  return best;
}

double Exponentiate(float maximum, float temperature, std::span<float> x) {
  for (float& value : x) value = Exp((value - maximum) / temperature);
  double sum = 0;
  ForEachBlock(x, [&](std::size_t, std::span<const float> block) {
    sum += BlockSum(block);
    return true;
  });
  return sum;
}

std::int32_t TokenAt(std::span<const float> weights, double sum, double share) {
  double rest = sum * share;
  std::size_t token = weights.size();
  ForEachBlock(weights, [&](std::size_t first, std::span<const float> block) {
    const double block_sum = BlockSum(block);
    const bool inside = rest < block_sum;
    for (std::size_t i = 0; inside && i < block.size() && rest >= 0; ++i) {
      if (block[i] <= 0) continue;
      token = first + i;
      rest -= block[i];
    }
    if (!inside) rest -= block_sum;
    return !inside;
  });
  if (token == weights.size()) {  // rounding left a little past the end
    token = static_cast<std::size_t>(std::ranges::max_element(weights) - weights.begin());
  }
  return static_cast<std::int32_t>(token);
}

}  // namespace mlc
