#include "engine/request_check.h"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace mlc {
namespace {

void Require(bool holds, const char* field, const char* range) {
  if (!holds) throw std::invalid_argument(std::string(field) + " must be " + range + ".");
}

void CheckToken(const char* field, std::int32_t token, std::int32_t vocab) {
  if (token >= 0 && token < vocab) return;
  throw std::invalid_argument(std::string(field) + " holds token " + std::to_string(token) +
                              ", but the model's tokens are 0 to " + std::to_string(vocab - 1) +
                              ".");
}

void CheckSampling(const Sampling& sampling, std::int32_t vocab) {
  const auto at_least_0 = [](float value) { return value >= 0 && std::isfinite(value); };
  Require(at_least_0(sampling.temperature), "temperature", "a finite number of at least 0");
  Require(sampling.top_p > 0 && sampling.top_p <= 1, "top_p", "greater than 0 and at most 1");
  Require(sampling.top_k >= 0, "top_k", "at least 1, or 0 for no limit");
  Require(sampling.min_p >= 0 && sampling.min_p <= 1, "min_p", "from 0 to 1");
  Require(at_least_0(sampling.repetition_penalty) && sampling.repetition_penalty > 0,
          "repetition_penalty", "a finite number greater than 0");
  Require(std::isfinite(sampling.presence_penalty), "presence_penalty", "a finite number");
  Require(std::isfinite(sampling.frequency_penalty), "frequency_penalty", "a finite number");
  Require(sampling.top_logprobs >= -1 && sampling.top_logprobs <= vocab, "top_logprobs",
          "from 0 to the number of tokens, or -1 for none");
  for (const auto& [token, bias] : sampling.logit_bias) {
    CheckToken("logit_bias", token, vocab);
    Require(!std::isnan(bias) && bias < std::numeric_limits<float>::infinity(), "logit_bias",
            "a number for each token, not NaN and not infinite (but for -infinity, a ban)");
  }
}

}  // namespace

void CheckRequest(const Request& request, std::int32_t vocab, std::int32_t context) {
  Require(!request.prompt.empty(), "prompt", "at least one token");
  Require(request.max_tokens >= 1, "max_tokens", "at least 1");
  if (request.prompt.size() >= static_cast<std::size_t>(context)) {
    throw std::invalid_argument("The prompt has " + std::to_string(request.prompt.size()) +
                                " tokens, but there is room for " + std::to_string(context) +
                                ", at least one of them for the answer: shorten the prompt or give "
                                "the engine more context.");
  }
  for (const std::int32_t token : request.prompt) CheckToken("prompt", token, vocab);
  for (const std::int32_t token : request.stop_tokens) CheckToken("stop_tokens", token, vocab);
  CheckSampling(request.sampling, vocab);
}

}  // namespace mlc
