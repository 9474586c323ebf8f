#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/engine.h"

namespace mlc {

/// What a sampler chose.
struct Choice {
  std::int32_t token =
      -1;  ///< -1: the logits hold a NaN or an infinity, or leave nothing to choose
  float logprob = 0;
  std::vector<std::pair<std::int32_t, float>> top_logprobs;
};

/// Chooses the tokens of one request, one after another.
///
/// In this order: logit_bias, repetition, presence and frequency penalties, temperature, top_k,
/// top_p (of what top_k left), min_p (of the greatest probability), draw. Log-probabilities are the
/// model's own, before all of that. Greedy choices and equal probabilities go to the lowest token.
/// The n-th draw depends on the seed, n and the logits alone.
class Sampler {
 public:
  Sampler(Sampling sampling, std::span<const std::int32_t> prompt);

  /// Chooses the next token by its logits, [vocab], and overwrites them.
  Choice Sample(std::span<float> logits);

 private:
  void Adjust(std::span<float> logits) const;
  std::int32_t Draw(float maximum, std::span<float> logits) const;

  Sampling sampling_;
  std::uint64_t drawn_ = 0;
  std::unordered_map<std::int32_t, std::int32_t> seen_;  ///< times generated; 0: in the prompt only
};

}  // namespace mlc
