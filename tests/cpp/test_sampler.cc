#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "cpp/check.h"
#include "engine/logits.h"
#include "engine/philox.h"

namespace {

using mlc::Choice;
using mlc::Ranked;
using mlc::Sampler;
using mlc::Sampling;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> RandomLogits(std::size_t vocab, unsigned seed, float spread = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(vocab);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

Choice SampleOnce(const Sampling& sampling, std::vector<float> logits,
                  std::vector<std::int32_t> prompt = {0}) {
  return Sampler(sampling, prompt).Sample(logits);
}

/// The distribution that the options leave, by their definition, in float64.
std::vector<double> Expected(const Sampling& sampling, const std::vector<float>& logits) {
  const double maximum = *std::ranges::max_element(logits);
  std::vector<double> p;
  for (const float logit : logits) p.push_back(std::exp((logit - maximum) / sampling.temperature));
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });
  const auto normalise = [&] {
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& one : p) one /= sum;
  };
  const auto keep = [&](std::size_t count) {
    for (std::size_t i = count; i < order.size(); ++i) p[order[i]] = 0;
    normalise();
  };
  keep(sampling.top_k > 0 ? static_cast<std::size_t>(sampling.top_k) : p.size());
  std::size_t count = 0;
  for (double mass = 0; count < order.size() && mass < sampling.top_p; ++count) {
    mass += p[order[count]];
  }
  keep(count);
  const double least = sampling.min_p * p[order[0]];
  for (double& one : p) one = one < least ? 0 : one;
  normalise();
  return p;
}

void TestPhiloxIsThePublishedOne() {  // known answers of the Random123 library
  using Counter = std::array<std::uint32_t, 4>;
  CHECK((mlc::Philox({0, 0, 0, 0}, {0, 0}) ==
         Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  CHECK((mlc::Philox({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}) ==
         Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK((mlc::Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
         Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

void TestBestIsASortedPrefix() {
  for (const std::size_t vocab : {1U, 15U, 257U, 5000U}) {
    std::vector<float> logits = RandomLogits(vocab, 1);
    for (float& logit : logits) logit = std::round(logit * 4) / 4;  // many ties
    std::vector<Ranked> sorted;
    for (const float logit : logits) {
      sorted.push_back({logit, static_cast<std::int32_t>(sorted.size())});
    }
    std::ranges::sort(sorted, std::less<>());
    for (const std::int32_t count : {0, 1, 2, 19, 20, 100, 6000}) {
      const std::vector<Ranked> best = mlc::Best(logits, count);
      CHECK(best.size() == std::min(vocab, static_cast<std::size_t>(count)));
      for (std::size_t i = 0; i < best.size(); ++i) {
        CHECK(best[i].token == sorted[i].token && best[i].value == sorted[i].value);
      }
    }
  }
}

void TestWeightsAreExponentials() {
  std::vector<float> x;
  for (float value = 0; value > -86; value -= 0.01f) x.push_back(value);
  std::vector<float> weights = x;
  const double sum = mlc::Exponentiate(0, 1, weights);
  double expected = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    CHECK(std::abs(weights[i] - exact) <= 3e-7 * exact);
    expected += exact;
  }
  CHECK(std::abs(sum - expected) <= 1e-6 * expected);
  std::vector<float> ends = {0, -88, -1e30f, -kInfinity};
  CHECK(mlc::Exponentiate(0, 1e-30f, ends) == 1);
  CHECK((ends == std::vector<float>{1, 0, 0, 0}));
}

void TestShareOfTheSum() {
  std::vector<float> weights(1000, 0);
  weights[3] = weights[700] = 1;
  for (const auto& [share, token] : {std::pair{0.0, 3}, {0.49, 3}, {0.5, 700}, {0.99, 700}}) {
    CHECK(mlc::TokenAt(weights, 2, share) == token);
  }
  CHECK(mlc::TokenAt(weights, 2, 1) == 3);  // past the end, by rounding: any of weight
}

void TestGreedyTakesTheLowestOfTheBest() {
  for (const std::size_t vocab : {5U, 16U, 1000U}) {
    std::vector<float> logits(vocab, -1);
    logits[2] = logits[4] = 7;
    CHECK(SampleOnce({.temperature = 0}, logits).token == 2);
    CHECK(SampleOnce({.top_k = 1}, logits).token == 2);
    CHECK(SampleOnce({.temperature = 1e-30f, .top_k = 1}, logits).token == 2);
    CHECK(SampleOnce({.top_p = 1e-6f}, logits).token == 2);
  }
}

/// Draws many times and compares with the definition, by Pearson's chi-square.
void TestDistribution(const Sampling& options, std::size_t vocab) {
  const std::vector<float> logits = RandomLogits(vocab, 5, 1.5f);
  const std::vector<double> expected = Expected(options, logits);
  constexpr int kDraws = 2000;
  Sampler sampler(options, std::vector<std::int32_t>{0});
  std::vector<int> counts(vocab);
  for (int i = 0; i < kDraws; ++i) {
    std::vector<float> copy = logits;
    ++counts[static_cast<std::size_t>(sampler.Sample(copy).token)];
  }
  double chi_square = 0, freedom = -1, rare = 0, rare_expected = 0;
  for (std::size_t i = 0; i < vocab; ++i) {
    CHECK(expected[i] > 0 || counts[i] == 0);
    const double wanted = expected[i] * kDraws;
    if (wanted < 5) {
      rare += counts[i];
      rare_expected += wanted;
      continue;
    }
    chi_square += (counts[i] - wanted) * (counts[i] - wanted) / wanted;
    ++freedom;
  }
  // Seven standard deviations: a wrong option is off by hundreds.
  CHECK(chi_square <= freedom + 7 * std::sqrt(2 * freedom + 2));
  CHECK(std::abs(rare - rare_expected) <= 7 * std::sqrt(rare_expected + 1));
}

void TestDistributions() {
  for (const std::size_t vocab : {40U, 700U}) {
    for (const Sampling& options : std::vector<Sampling>{
             {},
             {.temperature = 0.7f},
             {.temperature = 2},
             {.top_k = 7},
             {.top_p = 0.6f},
             {.top_p = 0.97f},
             {.min_p = 0.1f},
             {.temperature = 1.3f, .top_p = 0.8f, .top_k = 20, .min_p = 0.05f},
         }) {
      TestDistribution(options, vocab);
    }
  }
}

void TestADrawDependsOnSeedAndIndexAlone() {
  const std::vector<float> logits = RandomLogits(500, 9);
  const auto draw = [&](std::uint64_t seed) {
    Sampler sampler({.seed = seed}, std::vector<std::int32_t>{0});
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 20; ++i) {
      std::vector<float> copy = logits;
      tokens.push_back(sampler.Sample(copy).token);
    }
    return tokens;
  };
  CHECK(draw(1) == draw(1));
  CHECK(draw(1) != draw(2));
  CHECK(draw(1) != draw(1 + (std::uint64_t{1} << 32)));
}

void TestBiasAndPenalties() {
  const std::vector<float> logits = {1.0f, 1.5f, -1.0f, 0.5f};
  const auto greedy = [&](Sampling sampling, std::vector<std::int32_t> prompt = {3}) {
    sampling.temperature = 0;
    Sampler sampler(sampling, prompt);
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 4; ++i) {
      std::vector<float> copy = logits;
      tokens.push_back(sampler.Sample(copy).token);
    }
    return tokens;
  };
  using Tokens = std::vector<std::int32_t>;
  CHECK((greedy({}) == Tokens{1, 1, 1, 1}));
  CHECK((greedy({.logit_bias = {{2, 2.6f}}}) == Tokens{2, 2, 2, 2}));
  CHECK((greedy({.logit_bias = {{1, -kInfinity}, {0, -kInfinity}}}) == Tokens{3, 3, 3, 3}));
  CHECK((greedy({.presence_penalty = 0.6f}) == Tokens{1, 0, 1, 1}));
  CHECK((greedy({.frequency_penalty = 0.6f}) == Tokens{1, 0, 1, 3}));
  CHECK((greedy({.repetition_penalty = 2}) == Tokens{1, 0, 1, 1}));
  CHECK((greedy({.repetition_penalty = 4}, {0, 1}) == Tokens{3, 1, 1, 1}));
  CHECK((greedy({.presence_penalty = 2}, {0, 1}) == Tokens{1, 0, 3, 1}));  // generated ones only
}

void TestLogprobsAreTheModels() {
  const std::vector<float> logits = RandomLogits(1000, 3);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  const auto logprob = [&](std::int32_t token) {
    return logits[static_cast<std::size_t>(token)] - std::log(sum);
  };
  const Sampling options{.temperature = 3, .logit_bias = {{77, 100}}, .top_logprobs = 5};
  const Choice choice = SampleOnce(options, logits);
  CHECK(choice.token == 77 && std::abs(choice.logprob - logprob(77)) < 1e-5);
  CHECK(choice.top_logprobs.size() == 5);
  const std::vector<Ranked> best = mlc::Best(logits, 5);
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(choice.top_logprobs[i].first == best[i].token);
    CHECK(std::abs(choice.top_logprobs[i].second - logprob(best[i].token)) < 1e-5);
  }
  CHECK(SampleOnce({.top_logprobs = 0}, logits).top_logprobs.empty());
  CHECK(SampleOnce({.top_logprobs = 0}, logits).logprob < 0);
  CHECK(SampleOnce({}, logits).logprob == 0);
}

void TestNothingToChoose() {
  for (const float wrong : {kNan, kInfinity}) {
    for (const std::size_t place : {0U, 17U, 99U}) {
      std::vector<float> logits = RandomLogits(100, 4);
      logits[place] = wrong;
      for (const float temperature : {0.0f, 1.0f}) {
        CHECK(SampleOnce({.temperature = temperature}, logits).token == -1);
      }
    }
  }
  CHECK(SampleOnce({}, std::vector<float>(20, -kInfinity)).token == -1);
  CHECK(SampleOnce({.logit_bias = {{0, -kInfinity}}}, {1}).token == -1);
  CHECK(SampleOnce({}, {-kInfinity, 1, -kInfinity}).token == 1);
}

/// What a device answers, by definition; `logits` are adjusted in place.
mlc::Shortlist Answer(const mlc::TokenQuery& query, std::vector<float>& logits) {
  for (const mlc::Adjustment& one : query.adjustments) {
    float& logit = logits[static_cast<std::size_t>(one.token)];
    logit += one.bias;
    logit = logit > 0 ? logit / one.repetition : logit * one.repetition;
    logit -= one.penalty;
  }
  mlc::Shortlist answer;
  answer.maximum = mlc::Maximum(logits);
  std::vector<float> weights = logits;
  answer.sum = static_cast<float>(mlc::Exponentiate(answer.maximum, query.temperature, weights));
  constexpr std::int32_t kBlock = 50;
  const auto vocab = static_cast<std::int32_t>(logits.size());
  std::int32_t begin = 0, end = vocab;
  answer.least = -kInfinity;
  if (query.share >= 0) {
    answer.rest = query.share * answer.sum;
    for (begin = 0;; begin += kBlock) {
      end = std::min(begin + kBlock, vocab);
      const float sum = std::accumulate(weights.begin() + begin, weights.begin() + end, 0.0f);
      if (answer.rest < sum || end == vocab) break;
      answer.rest -= sum;
    }
  } else if (query.best < vocab) {
    answer.least = mlc::Best(logits, query.best).back().value;
  }
  for (std::int32_t token = begin; token < end; ++token) {
    const float logit = logits[static_cast<std::size_t>(token)];
    if (logit >= answer.least) answer.tokens.push_back({logit, token});
  }
  std::ranges::reverse(answer.tokens);  // a device lists them in any order
  return answer;
}

/// A shortlist gives the token that the logits give, or asks for these.
void TestShortlists() {
  const std::vector<Sampling> cases = {
      {.temperature = 0},
      {.temperature = 0, .repetition_penalty = 1.5f, .logit_bias = {{7, 9}, {7, 2}, {8, -3}}},
      {.temperature = 1},
      {.temperature = 0.7f, .top_k = 5},
      {.top_k = 3, .min_p = 0.3f},
      {.top_p = 0.5f},
      {.temperature = 2, .top_p = 0.99f},
      {.min_p = 0.01f},
      {.temperature = 3, .min_p = 1e-6f},
      {.top_p = 0.9f, .top_k = 40, .presence_penalty = 0.5f, .frequency_penalty = 0.7f}};
  int enough = 0, total = 0;
  for (Sampling sampling : cases) {
    for (const std::size_t vocab : {1U, 40U, 1000U}) {
      if (vocab < 9 && !sampling.logit_bias.empty()) continue;
      sampling.seed = vocab;
      const std::vector<std::int32_t> prompt = {0};
      Sampler by_logits(sampling, prompt), by_list(sampling, prompt);
      for (unsigned draw = 0; draw < 30; ++draw, ++total) {
        std::vector<float> logits = RandomLogits(vocab, draw), adjusted = logits;
        const mlc::TokenQuery query = by_list.Ask(static_cast<std::int32_t>(vocab));
        std::optional<Choice> choice = by_list.Sample(Answer(query, adjusted));
        enough += choice ? 1 : 0;
        if (!choice) choice = by_list.SampleAdjusted(adjusted);
        CHECK(choice->token == by_logits.Sample(logits).token);
      }
    }
  }
  // The others: nuclei and tails of flat distributions.
  CHECK(total - enough >= 30 && total - enough < total / 5);
  CHECK(Sampler({.top_logprobs = 0}, {}).Asks() == false && Sampler({}, {}).Asks());
}

void TestShortlistsWithoutATokenToChoose() {
  Sampler sampler({}, {});
  sampler.Ask(10);
  CHECK(sampler.Sample({.maximum = kInfinity}).value().token == -1);
  CHECK(sampler.Sample({.maximum = kNan}).value().token == -1);
  CHECK(!sampler.Sample({.maximum = 1, .complete = false}));
}

}  // namespace

int main() {
  TestShortlists();
  TestShortlistsWithoutATokenToChoose();
  TestPhiloxIsThePublishedOne();
  TestBestIsASortedPrefix();
  TestWeightsAreExponentials();
  TestShareOfTheSum();
  TestGreedyTakesTheLowestOfTheBest();
  TestDistributions();
  TestADrawDependsOnSeedAndIndexAlone();
  TestBiasAndPenalties();
  TestLogprobsAreTheModels();
  TestNothingToChoose();
}
