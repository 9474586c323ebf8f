#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "engine/prefix_cache.h"
#include "engine/sampler.h"

namespace mlc {

/// A request on its way, and where its keys and values are.
struct Sequence {
  Sequence(std::int64_t id, Request request);

  /// Tokens whose keys and values are still to be computed. One: it is decoding.
  std::int32_t pending() const { return static_cast<std::int32_t>(tokens.size()) - computed; }

  std::int64_t id;
  std::size_t prompt_size;
  std::vector<std::int32_t> tokens;  ///< prompt and answer
  std::int32_t max_tokens;
  std::vector<std::int32_t> stop_tokens;
  Sampler sampler;
  std::int32_t reused = -1;  ///< prompt tokens found in the cache; -1 before it ran

  std::int32_t computed = 0;        ///< tokens in the cache
  std::vector<std::int32_t> pages;  ///< hold `computed` tokens and perhaps some more
  std::size_t published = 0;        ///< the first of `pages` that other requests may share
  PrefixCache::Node node = PrefixCache::kRoot;  ///< of the last published page
};

/// The next tokens of one sequence, for one batch.
struct Work {
  Sequence* sequence = nullptr;
  std::int32_t rows = 0;
};

/// Decides which requests run, and with which pages.
///
/// First come, first served. A batch has a row for each decoding sequence; prompts, in chunks, fill
/// the rest. A request starts when there are pages for all its tokens. Answers grow page by page;
/// when none is left, the youngest running request gives up its pages and waits at the front of the
/// queue.
class Scheduler {
 public:
  Scheduler(const EngineLimits& limits, std::int32_t max_rows);

  /// Queues a sequence younger than all before.
  void Add(std::unique_ptr<Sequence> sequence);

  /// Takes out a sequence, in any state, and frees its pages. Null where there is none of that id.
  std::unique_ptr<Sequence> Remove(std::int64_t id);

  /// The next batch; empty only when idle.
  std::vector<Work> Next();

  /// Notes that a batch with this work ran: the tokens are in the cache.
  void Computed(const Work& work);

  bool idle() const { return waiting_.empty() && running_.empty(); }
  std::size_t running() const { return running_.size(); }
  std::int32_t pages_in_use() const { return cache_.in_use(); }

 private:
  using Queue = std::deque<std::unique_ptr<Sequence>>;

  bool Admit(Sequence& sequence);
  bool SharesUnfinishedPages(const Sequence& sequence) const;
  bool Grow(Sequence& sequence);
  void Preempt();
  void Free(Sequence& sequence);

  std::int32_t max_rows_;
  std::size_t max_sequences_;
  PrefixCache cache_;
  Queue waiting_;  // ordered by age, as is `running_`, and all younger than those
  Queue running_;
};

}  // namespace mlc
