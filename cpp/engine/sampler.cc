#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <tuple>

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

/// The token at `rest` of the candidates' weights, laid one after another.
std::int32_t TokenAt(const std::vector<Ranked>& candidates, double rest) {
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

/// Turns logits into weights; returns their sum.
double Weigh(float maximum, float temperature, std::vector<Ranked>& tokens) {
  std::vector<float> weights;
  for (const Ranked& one : tokens) weights.push_back(one.value);
  const double sum = Exponentiate(maximum, temperature, weights);
  for (std::size_t i = 0; i < weights.size(); ++i) tokens[i].value = weights[i];
  return sum;
}

double Sum(std::span<const Ranked> weights) {
  double sum = 0;
  for (const Ranked& one : weights) sum += one.value;
  return sum;
}

}  // namespace

Sampler::Sampler(Sampling sampling, std::span<const std::int32_t> prompt)
    : sampling_(std::move(sampling)) {
  std::map<std::int32_t, float> biases;
  for (const auto& [token, bias] : sampling_.logit_bias) biases[token] += bias;
  sampling_.logit_bias.assign(biases.begin(), biases.end());
  if (sampling_.repetition_penalty == 1) return;
  for (const std::int32_t token : prompt) seen_.emplace(token, 0);
}

Choice Sampler::Sample(std::span<float> logits) {
  const float maximum = Maximum(logits);
  if (!std::isfinite(maximum)) return {};
  std::vector<float> model_logits;
  if (sampling_.top_logprobs >= 0) model_logits.assign(logits.begin(), logits.end());

  ListAdjustments();
  for (const Adjustment& one : adjustments_) {
    float& logit = logits[static_cast<std::size_t>(one.token)];
    logit += one.bias;
    logit = logit > 0 ? logit / one.repetition : logit * one.repetition;
    logit -= one.penalty;
  }
  Choice choice = SampleAdjusted(logits);
  if (choice.token >= 0 && !model_logits.empty()) {
    SetLogprobs(std::move(model_logits), maximum, sampling_.top_logprobs, choice);
  }
  return choice;
}

Choice Sampler::SampleAdjusted(std::span<float> logits) {
  const float maximum = Maximum(logits);
  if (!std::isfinite(maximum)) return {};
  if (sampling_.temperature > 0) return Chosen(Draw(maximum, logits));
  return Chosen(static_cast<std::int32_t>(std::ranges::find(logits, maximum) - logits.begin()));
}

TokenQuery Sampler::Ask(std::int32_t vocab) {
  // More than most nuclei have; who wants more of a flat distribution looks at the logits.
  constexpr std::int32_t kBest = 128;
  ListAdjustments();
  vocab_ = vocab;
  TokenQuery& query = asked_;
  query = {.adjustments = adjustments_};
  if (sampling_.temperature <= 0) return query;
  query.temperature = sampling_.temperature;
  if (!Truncates(vocab)) {
    query.share = static_cast<float>(Uniform(sampling_.seed, drawn_));
  } else {
    const bool top_k = sampling_.top_k > 0 && sampling_.top_k < vocab;
    query.best = top_k ? sampling_.top_k : kBest;
  }
  return query;
}

std::optional<Choice> Sampler::Sample(const Shortlist& answer) {
  if (!std::isfinite(answer.maximum)) return Choice{};
  if (!answer.complete || answer.tokens.empty()) return std::nullopt;
  if (sampling_.temperature <= 0)
    return Chosen(std::min_element(answer.tokens.begin(), answer.tokens.end())->token);
  const std::optional<std::int32_t> token = Draw(answer);
  if (!token) return std::nullopt;
  return Chosen(*token);
}

Choice Sampler::Chosen(std::int32_t token) {
  Choice choice;
  choice.token = token;
  ++drawn_;
  ++seen_[token];
  return choice;
}

/// Whether anything but the temperature shapes the distribution.
bool Sampler::Truncates(std::int32_t vocab) const {
  const bool top_k = sampling_.top_k > 0 && sampling_.top_k < vocab;
  return top_k || sampling_.top_p < 1 || sampling_.min_p > 0;
}

void Sampler::ListAdjustments() {
  const auto [repetition, presence, frequency] = std::tuple(
      sampling_.repetition_penalty, sampling_.presence_penalty, sampling_.frequency_penalty);
  adjustments_.clear();
  for (const auto& [token, bias] : sampling_.logit_bias) {
    adjustments_.push_back({.token = token, .bias = bias});
  }
  if (repetition == 1 && presence == 0 && frequency == 0) return;
  std::unordered_map<std::int32_t, std::size_t> biased;
  for (std::size_t i = 0; i < adjustments_.size(); ++i) biased[adjustments_[i].token] = i;
  for (const auto& [token, generated] : seen_) {
    const auto found = biased.find(token);
    Adjustment& one = found == biased.end() ? adjustments_.emplace_back(Adjustment{.token = token})
                                            : adjustments_[found->second];
    one.repetition = repetition;
    if (generated > 0) one.penalty = presence + frequency * static_cast<float>(generated);
  }
}

std::int32_t Sampler::Draw(float maximum, std::span<float> logits) const {
  const float temperature = sampling_.temperature;
  const auto vocab = static_cast<std::int32_t>(logits.size());
  if (sampling_.top_k > 0 && sampling_.top_k < vocab) {
    std::vector<Ranked> candidates = Best(logits, sampling_.top_k);
    const double sum = Weigh(maximum, temperature, candidates);
    return DrawFrom(std::move(candidates), sum);
  }
  const double sum = Exponentiate(maximum, temperature, logits);
  if (!Truncates(vocab)) {
    return mlc::TokenAt(logits, sum, Uniform(sampling_.seed, drawn_));
  }
  // Those whose share is not above (1 - top_p) / vocab are together not above 1 - top_p: top_p
  // leaves them out in any case.
  const double tail = std::min((1 - double{sampling_.top_p}) * sum / vocab, 0.5);
  const auto least = std::max(static_cast<float>(tail), sampling_.min_p);
  std::vector<Ranked> candidates;
  for (std::int32_t token = 0; token < vocab; ++token) {
    const float weight = logits[static_cast<std::size_t>(token)];
    if (weight >= least) candidates.push_back({weight, token});
  }
  return DrawFrom(std::move(candidates), sum);
}

std::optional<std::int32_t> Sampler::Draw(const Shortlist& answer) const {
  std::vector<Ranked> candidates = answer.tokens;
  std::ranges::sort(candidates, {}, &Ranked::token);
  if (asked_.share >= 0) {
    Weigh(answer.maximum, sampling_.temperature, candidates);
    return TokenAt(candidates, answer.rest);
  }
  const bool all = candidates.size() == static_cast<std::size_t>(vocab_);
  if (sampling_.top_k > 0 && sampling_.top_k < vocab_) {
    const auto end =
        candidates.begin() + std::min<std::ptrdiff_t>(sampling_.top_k, std::ssize(candidates));
    std::partial_sort(candidates.begin(), end, candidates.end());
    candidates.erase(end, candidates.end());
    const double sum = Weigh(answer.maximum, sampling_.temperature, candidates);
    return DrawFrom(std::move(candidates), sum);
  }
  const double listed = Weigh(answer.maximum, sampling_.temperature, candidates);
  const double sum = all ? listed : answer.sum;
  std::vector<Ranked> least = {{answer.least, 0}};
  Weigh(answer.maximum, sampling_.temperature, least);
  const bool mass = sampling_.top_p < 1 && listed >= sampling_.top_p * sum;
  const bool tail = sampling_.min_p > 0 && least.front().value <= sampling_.min_p;
  if (!all && !mass && !tail) return std::nullopt;
  return DrawFrom(std::move(candidates), sum);
}

/// Draws from the candidates that top_p and min_p leave; `sum` is that of all weights.
std::int32_t Sampler::DrawFrom(std::vector<Ranked> candidates, double sum) const {
  if (sampling_.top_p < 1) KeepMass(sampling_.top_p * sum, candidates);
  // The greatest weight is 1.
  std::erase_if(candidates, [&](const Ranked& one) { return one.value < sampling_.min_p; });
  return TokenAt(candidates, Sum(candidates) * Uniform(sampling_.seed, drawn_));
}

}  // namespace mlc
