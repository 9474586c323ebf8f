#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "runtime/shortlist.h"

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

  /// Whether a shortlist can be enough: not where log-probabilities are wanted.
  bool Asks() const { return sampling_.top_logprobs < 0; }

  /// What to know of the next logits. It views the sampler, which must stay as it is meanwhile.
  TokenQuery Ask(std::int32_t vocab);

  /// Chooses the next token by the answer; nothing where only the logits can tell.
  std::optional<Choice> Sample(const Shortlist& answer);

  /// As the first, of logits that are adjusted already.
  Choice SampleAdjusted(std::span<float> logits);

 private:
  bool Truncates(std::int32_t vocab) const;
  void ListAdjustments();
  std::int32_t Draw(float maximum, std::span<float> logits) const;
  std::optional<std::int32_t> Draw(const Shortlist& answer) const;
  std::int32_t DrawFrom(std::vector<Ranked> candidates, double sum) const;
  Choice Chosen(std::int32_t token);

  Sampling sampling_;
  std::vector<Adjustment> adjustments_;  ///< of the next logits
  TokenQuery asked_;
  std::int32_t vocab_ = 0;  ///< asked about
  std::uint64_t drawn_ = 0;
  std::unordered_map<std::int32_t, std::int32_t> seen_;  ///< times generated; 0: in the prompt only
};

}  // namespace mlc
