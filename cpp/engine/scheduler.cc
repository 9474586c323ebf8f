#include "engine/scheduler.h"

#include <algorithm>
#include <span>
#include <utility>

namespace mlc {
namespace {

std::size_t PagesFor(std::size_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

std::span<const std::int32_t> PageTokens(const Sequence& sequence, std::size_t page) {
  return std::span(sequence.tokens).subspan(page * kPageTokens, kPageTokens);
}

/// Full pages that a sequence may take from others: one token at least has to be computed.
std::size_t ShareablePages(const Sequence& sequence) {
  return (sequence.tokens.size() - 1) / kPageTokens;
}

}  // namespace

Sequence::Sequence(std::int64_t request_id, Request request)
    : id(request_id),
      prompt_size(request.prompt.size()),
      tokens(std::move(request.prompt)),
      max_tokens(request.max_tokens),
      stop_tokens(std::move(request.stop_tokens)),
      sampler(std::move(request.sampling), tokens) {}

Scheduler::Scheduler(const EngineLimits& limits, std::int32_t max_rows)
    : max_rows_(max_rows),
      max_sequences_(static_cast<std::size_t>(limits.max_sequences)),
      cache_(limits.pages) {}

void Scheduler::Add(std::unique_ptr<Sequence> sequence) { waiting_.push_back(std::move(sequence)); }

std::unique_ptr<Sequence> Scheduler::Remove(std::int64_t id) {
  for (Queue* queue : {&waiting_, &running_}) {
    const auto found = std::ranges::find(*queue, id, [](const auto& one) { return one->id; });
    if (found == queue->end()) continue;
    std::unique_ptr<Sequence> sequence = std::move(*found);
    queue->erase(found);
    Free(*sequence);
    return sequence;
  }
  return nullptr;
}

std::vector<Work> Scheduler::Next() {
  std::vector<Work> batch;
  std::int32_t rows = max_rows_;
  const auto add = [&](Sequence& sequence) {
    batch.push_back({&sequence, std::min(sequence.pending(), rows)});
    rows -= batch.back().rows;
  };
  // Whoever is preempted here is younger than those that are in the batch already.
  for (std::size_t i = 0; i < running_.size(); ++i) {
    if (running_[i]->pending() == 1 && Grow(*running_[i])) add(*running_[i]);
  }
  for (const auto& sequence : running_) {
    if (sequence->pending() > 1 && rows > 0) add(*sequence);
  }
  while (!waiting_.empty() && rows > 0 && running_.size() < max_sequences_ &&
         Admit(*waiting_.front())) {
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    add(*running_.back());
  }
  return batch;
}

void Scheduler::Computed(const Work& work) {
  Sequence& sequence = *work.sequence;
  sequence.computed += work.rows;
  const std::size_t full = static_cast<std::size_t>(sequence.computed) / kPageTokens;
  for (std::size_t& page = sequence.published; page < full; ++page) {
    const PrefixCache::Entry entry =
        cache_.Publish(sequence.node, PageTokens(sequence, page), sequence.pages[page]);
    sequence.node = entry.node;
    sequence.pages[page] = entry.page;
  }
}

/// Gives a waiting sequence all the pages that its tokens need, or none.
bool Scheduler::Admit(Sequence& sequence) {
  const std::size_t shareable = ShareablePages(sequence);
  while (sequence.published < shareable) {
    const auto entry = cache_.Find(sequence.node, PageTokens(sequence, sequence.published));
    if (!entry) break;
    cache_.Share(entry->page);
    sequence.pages.push_back(entry->page);
    sequence.node = entry->node;
    ++sequence.published;
  }
  const std::size_t wanted = PagesFor(sequence.tokens.size()) - sequence.pages.size();
  // A page for each of the others to grow by, or they would preempt this one at once.
  const bool fits = wanted + running_.size() <= static_cast<std::size_t>(cache_.available());
  if (!fits || SharesUnfinishedPages(sequence)) {
    Free(sequence);
    return false;
  }
  for (std::size_t i = 0; i < wanted; ++i) sequence.pages.push_back(cache_.Take());
  sequence.computed = static_cast<std::int32_t>(sequence.published) * kPageTokens;
  if (sequence.reused < 0) sequence.reused = sequence.computed;
  return true;
}

/// Whether a running sequence is about to compute a page that this one could share: worth a wait.
bool Scheduler::SharesUnfinishedPages(const Sequence& sequence) const {
  return std::ranges::any_of(running_, [&](const auto& other) {
    const std::size_t end = std::min(ShareablePages(sequence), other->tokens.size() / kPageTokens);
    const auto length =
        static_cast<std::ptrdiff_t>(std::min(sequence.published + 1, end) * kPageTokens);
    return other->pending() > 1 && sequence.published < end && other->published < end &&
           std::equal(sequence.tokens.begin(), sequence.tokens.begin() + length,
                      other->tokens.begin());
  });
}

/// Gives a decoding sequence a page for its next token, at the cost of the youngest if need be.
/// Returns false when it is itself that one.
bool Scheduler::Grow(Sequence& sequence) {
  if (sequence.pages.size() >= PagesFor(sequence.tokens.size())) return true;
  while (cache_.available() == 0) {
    const bool itself = running_.back().get() == &sequence;
    Preempt();
    if (itself) return false;
  }
  sequence.pages.push_back(cache_.Take());
  return true;
}

void Scheduler::Preempt() {
  Free(*running_.back());
  waiting_.push_front(std::move(running_.back()));
  running_.pop_back();
}

void Scheduler::Free(Sequence& sequence) {
  cache_.Release(sequence.pages);
  sequence.pages.clear();
  sequence.computed = 0;
  sequence.published = 0;
  sequence.node = PrefixCache::kRoot;
}

}  // namespace mlc
