#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "engine/logits.h"
#include "engine/philox.h"

namespace mlc {
namespace {

/// Keeps the fewest of the best `candidates` whose weights reach `mass`, best first.
void KeepMass(double mass, std::vector<Ranked>& candidates) {
  std::size_t sorted = 0;
  for (std::size_t end = 64; sorted < candidates.size(); end *= 4) {
    const auto at = [&](std::size_t i) {
      return candidates.begin() + static_cast<std::ptrdiff_t>(i);
    };
    end = std::min(end, candidates.size());
    if (end < candidates.size()) std::nth_element(at(sorted), at(end), candidates.end());
    std::sort(at(sorted), at(end));
    for (; sorted < end; ++sorted) {
      mass -= candidates[sorted].value;
      if (mass <= 0) {
        candidates.resize(sorted + 1);
        return;
      }
    }
  }
}

std::int32_t TokenAt(const std::vector<Ranked>& candidates, double share) {
  double rest = 0;
  for (const Ranked& candidate : candidates) rest += candidate.value;
  rest *= share;
  std::int32_t token = candidates.front().token;
  for (const Ranked& candidate : candidates) {
    if (candidate.value > 0) token = candidate.token;
    rest -= candidate.value;
    if (rest < 0) break;
  }
  return token;
}

void SetLogprobs(std::vector<float> logits, float maximum, std::int32_t top, Choice& choice) {
  const std::vector<Ranked> best = Best(logits, top);
  const float chosen = logits[static_cast<std::size_t>(choice.token)];
  const double norm = maximum + std::log(Exponentiate(maximum, 1, logits));
  const auto logprob = [&](float logit) { return static_cast<float>(logit - norm); };
  choice.logprob = logprob(chosen);
  for (const Ranked& one : best) choice.top_logprobs.emplace_back(one.token, logprob(one.value));
}

}  // namespace

Sampler::Sampler(Sampling sampling, std::span<const std::int32_t> prompt)
    : sampling_(std::move(sampling)) {
  if (sampling_.repetition_penalty == 1) return;
  for (const std::int32_t token : prompt) seen_.emplace(token, 0);
}

Choice Sampler::Sample(std::span<float> logits) {
  Choice choice;
  const float model_maximum = Maximum(logits);
  if (!std::isfinite(model_maximum)) return choice;
  std::vector<float> model_logits;
  if (sampling_.top_logprobs >= 0) model_logits.assign(logits.begin(), logits.end());

  Adjust(logits);
  const float maximum = Maximum(logits);
  if (!std::isfinite(maximum)) return choice;
  choice.token =
      sampling_.temperature > 0
          ? Draw(maximum, logits)
          : static_cast<std::int32_t>(std::ranges::find(logits, maximum) - logits.begin());
  ++drawn_;
  ++seen_[choice.token];
  if (!model_logits.empty()) {
    SetLogprobs(std::move(model_logits), model_maximum, sampling_.top_logprobs, choice);
  }
  return choice;
}

void Sampler::Adjust(std::span<float> logits) const {
  const auto at = [&](std::int32_t token) -> float& {
    return logits[static_cast<std::size_t>(token)];
  };
  for (const auto& [token, bias] : sampling_.logit_bias) at(token) += bias;
  if (sampling_.repetition_penalty == 1 && sampling_.presence_penalty == 0 &&
      sampling_.frequency_penalty == 0) {
    return;
  }
  for (const auto& [token, generated] : seen_) {
    float& logit = at(token);
    logit = logit > 0 ? logit / sampling_.repetition_penalty : logit * sampling_.repetition_penalty;
    if (generated == 0) continue;
    logit -=
        sampling_.presence_penalty + sampling_.frequency_penalty * static_cast<float>(generated);
  }
}

std::int32_t Sampler::Draw(float maximum, std::span<float> logits) const {
  const float temperature = sampling_.temperature;
  const double share = Uniform(sampling_.seed, drawn_);
  const double top_p = sampling_.top_p;
  const auto vocab = static_cast<std::int32_t>(logits.size());

  std::vector<Ranked> candidates;
  double sum = 0;
  if (sampling_.top_k > 0 && sampling_.top_k < vocab) {
    candidates = Best(logits, sampling_.top_k);
    std::vector<float> weights;
    for (const Ranked& candidate : candidates) weights.push_back(candidate.value);
    sum = Exponentiate(maximum, temperature, weights);
    for (std::size_t i = 0; i < weights.size(); ++i) candidates[i].value = weights[i];
  } else {
    sum = Exponentiate(maximum, temperature, logits);
    if (top_p >= 1 && sampling_.min_p <= 0) return mlc::TokenAt(logits, sum, share);
    // Those whose share is not above (1 - top_p) / vocab are together not above 1 - top_p: top_p
    // leaves them out in any case.
    const double tail = std::min((1 - top_p) * sum / vocab, 0.5);
    const auto least = std::max(static_cast<float>(tail), sampling_.min_p);
    for (std::int32_t token = 0; token < vocab; ++token) {
      const float weight = logits[static_cast<std::size_t>(token)];
      if (weight >= least) candidates.push_back({weight, token});
    }
  }
  if (top_p < 1) KeepMass(top_p * sum, candidates);
  // The greatest weight is 1.
  std::erase_if(candidates, [&](const Ranked& one) { return one.value < sampling_.min_p; });
  return TokenAt(candidates, share);
}

}  // namespace mlc
