#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "model/transformer.h"

namespace mlc {

/// How the next token is chosen. Defaults: the model's own distribution.
struct Sampling {
  float temperature = 1;  ///< 0 is greedy
  float top_p = 1;
  std::int32_t top_k = 0;  ///< 0 is off
  float min_p = 0;
  float repetition_penalty = 1;  ///< divides (or multiplies) the logits of tokens seen, prompt too
  float presence_penalty = 0;    ///< OpenAI's, over generated tokens
  float frequency_penalty = 0;
  std::uint64_t seed = 0;
  std::vector<std::pair<std::int32_t, float>> logit_bias = {};
  std::int32_t top_logprobs = -1;  ///< -1: none; 0: of the chosen token; n: and of the n best
};

struct Request {
  std::vector<std::int32_t> prompt = {};  ///< at least one token
  std::int32_t max_tokens = 0;            ///< at least one
  std::vector<std::int32_t> stop_tokens = {};
  Sampling sampling = {};
};

enum class Finish { kNone, kStop, kLength, kCancelled, kError };

/// One generated token of one request, or its end.
struct Event {
  std::int64_t request = 0;
  std::int32_t token = -1;  ///< a stop token too; -1: no token, only the end
  Finish finish = Finish::kNone;
  float logprob = 0;  ///< by the model's own distribution; 0 unless asked for
  std::vector<std::pair<std::int32_t, float>> top_logprobs;  ///< best first
  std::int32_t reused = 0;  ///< prompt tokens that were found in the cache
};

struct EngineLimits {
  std::int32_t pages = 0;          ///< of the KV cache
  std::int32_t max_sequences = 8;  ///< decoded together; at most the model's max_rows
  std::int32_t max_context = 0;    ///< prompt and answer of one request, tokens
};

/// Continuous batching over a paged KV cache with prefix reuse.
///
/// `Submit` and `Cancel` may be called from any thread at any time; `Step` from one at a time. The
/// tokens of a request depend on the request alone, never on those beside it.
class Engine {
 public:
  Engine(std::shared_ptr<Transformer> model, const EngineLimits& limits);
  ~Engine();

  /// Queues a request and returns its id.
  /// Throws std::invalid_argument when it is malformed or can never fit.
  std::int64_t Submit(Request request);

  /// Ends a request at the next step. An unknown or ended one is ignored.
  void Cancel(std::int64_t request);

  /// Runs one batch and hands its events to `sink`, in order of request.
  /// Returns whether there is more to do. A device failure ends the requests of the batch with
  /// Finish::kError and is thrown after the sink has seen that. Logits that are NaN end their
  /// request alone. What `sink` throws passes through; the next step hands out the other events.
  bool Step(const std::function<void(const Event&)>& sink);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mlc
