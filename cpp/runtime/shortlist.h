#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mlc {

/// A token and its logit, or its weight: exp of a logit less the greatest one.
struct Ranked {
  float value = 0;
  std::int32_t token = 0;
};

/// Before another: of greater value, or of equal value and a lower token.
inline bool operator<(const Ranked& a, const Ranked& b) {
  return a.value > b.value || (a.value == b.value && a.token < b.token);
}

/// What becomes of one logit before a token is chosen, in this order: + bias, / repetition where it
/// is positive and * repetition elsewhere, - penalty.
struct Adjustment {
  std::int32_t token = 0;
  float bias = 0;
  float repetition = 1;
  float penalty = 0;
};

/// Largest vocabulary that queries can be about.
inline constexpr std::int32_t kMostRankedTokens = 1 << 20;

/// What the host wants to know of a row of logits, to choose a token without seeing all of them.
struct TokenQuery {
  std::span<const Adjustment> adjustments;  ///< of different tokens
  float temperature = 1;                    ///< of `Shortlist::sum`; greater than 0
  std::int32_t best = 1;                    ///< so many of the best tokens, at least
  float share = -1;  ///< 0 to 1: instead, the tokens around this share of the sum; -1: none
};

/// The answer, about adjusted logits.
struct Shortlist {
  float maximum = 0;                ///< NaN where there is a NaN
  float sum = 0;                    ///< over all tokens, of exp((logit - maximum) / temperature)
  float least = 0;                  ///< `tokens` are all those whose logit is no less
  float rest = 0;                   ///< with `share`: how far into the sum of `tokens` it lies
  std::vector<Ranked> tokens = {};  ///< with their logits, in any order
  bool complete = true;             ///< false: there was no room for them
};

}  // namespace mlc
