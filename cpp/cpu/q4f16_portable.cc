#include <algorithm>

#include "cpu/q4f16_kernel.h"
#include "cpu/widen.h"

namespace mlc::cpu {
namespace {

constexpr int kLanes = 8;
constexpr int kGroups = 2;

/// Nibble i of a half word, less 7, times 16^i.
inline float Value(std::uint32_t half, int i) {
  return static_cast<float>(static_cast<std::int32_t>(half & 0xfu << 4 * i) - (7 << 4 * i));
}

/// Adds one block times x to `totals`. The same steps for every lane, and no branch: compilers
/// make SSE2 or NEON code of it. Sums of pairs, because a chain of additions would wait for itself.
inline void AddBlock(const std::uint32_t* words, const float* scales, const float* x,
                     float* totals) {
  for (int lane = 0; lane < kLanes; ++lane) {
    const std::uint32_t low = words[lane], high = low >> 16;
    const float* v = x + lane;
    const float a = (Value(low, 0) * v[0 * kLanes] + Value(low, 1) * v[1 * kLanes]) +
                    (Value(low, 2) * v[2 * kLanes] + Value(low, 3) * v[3 * kLanes]);
    const float b = (Value(high, 0) * v[4 * kLanes] + Value(high, 1) * v[5 * kLanes]) +
                    (Value(high, 2) * v[6 * kLanes] + Value(high, 3) * v[7 * kLanes]);
    totals[lane] += scales[lane / 4] * (a + b);
  }
}

float MultiplyRow(const std::uint32_t* words, const std::uint16_t* scales, std::int64_t groups,
                  const float* x) {
  constexpr std::int64_t kTile = 64;  // groups whose scales are converted ahead of their use
  float totals[kLanes] = {};
  for (std::int64_t tile = 0; tile < groups; tile += kTile) {
    float tile_scales[kTile];
    const std::int64_t end = std::min(tile + kTile, groups);
    for (std::int64_t group = tile; group < end; ++group) {
      tile_scales[group - tile] = Widen(scales[group]);
    }
    std::int64_t group = tile;
    for (; group + kGroups <= end; group += kGroups) {
      AddBlock(words + group * 4, tile_scales + (group - tile), x + group * 32, totals);
    }
    if (group < end) {
      std::uint32_t last_words[kLanes] = {};
      std::copy_n(words + group * 4, 4, last_words);
      const float last_scales[kGroups] = {tile_scales[group - tile], 0};
      AddBlock(last_words, last_scales, x + group * 32, totals);
    }
  }
  float sum = 0;
  for (const float total : totals) sum += total;
  return sum;
}

void Multiply(const std::uint32_t* words, const std::uint16_t* scales, std::int64_t rows,
              std::int64_t groups, const float* x, float* out) {
  for (std::int64_t row = 0; row < rows; ++row) {
    out[row] = MultiplyRow(words + row * groups * 4, scales + row * groups, groups, x);
  }
}

}  // namespace

const Q4F16Kernel kPortableKernel = {kLanes, Multiply};

}  // namespace mlc::cpu
