#include "engine/scheduler.h"

#include <map>
#include <random>
#include <vector>

#include "cpp/check.h"

namespace {

using mlc::kPageTokens;
using mlc::Scheduler;
using mlc::Sequence;
using mlc::Work;

std::vector<std::int32_t> Tokens(std::size_t count, std::int32_t first = 0) {
  std::vector<std::int32_t> tokens;
  for (std::size_t i = 0; i < count; ++i) {
    tokens.push_back(first + static_cast<std::int32_t>(i));
  }
  return tokens;
}

/// Runs batches as an engine would, on a cache whose every slot holds the token that was computed
/// there and its position: so it sees any page that is lost, mixed up or overwritten.
class Machine {
 public:
  Machine(const mlc::EngineLimits& limits, std::int32_t max_rows)
      : max_rows_(max_rows),
        scheduler(limits, max_rows),
        slots_(static_cast<std::size_t>(limits.pages) * kPageTokens) {}

  std::int64_t Add(std::vector<std::int32_t> prompt, std::size_t answer) {
    left_[++last_id_] = answer;
    scheduler.Add(std::make_unique<Sequence>(
        last_id_, mlc::Request{.prompt = std::move(prompt), .max_tokens = 1}));
    return last_id_;
  }

  /// Runs one batch and returns its rows by request. Sequences that have their answer end.
  std::map<std::int64_t, std::int32_t> Step() {
    const std::vector<Work> batch = scheduler.Next();
    std::map<std::int64_t, std::int32_t> ran;
    std::int32_t rows = 0;
    for (const Work& work : batch) {
      ran[work.sequence->id] = work.rows;
      CHECK(work.rows >= 1 && work.rows <= work.sequence->pending());
      rows += work.rows;
      Compute(work);
    }
    CHECK(rows <= max_rows_ && (rows > 0 || scheduler.idle()));
    for (const Work& work : batch) scheduler.Computed(work);
    for (const Work& work : batch) {
      if (work.sequence->pending() == 0) Extend(*work.sequence);
    }
    return ran;
  }

  void Cancel(std::int64_t id) {
    scheduler.Remove(id);
    left_.erase(id);
  }

  std::size_t unfinished() const { return left_.size(); }

  std::int64_t computed = 0;        ///< positions, over all batches
  std::vector<std::int64_t> ended;  ///< in that order; not those that were cancelled
  std::vector<std::int32_t> last;   ///< tokens of the last that ended

 private:
  struct Slot {
    std::int32_t token = -1;
    std::int32_t position = -1;
    bool operator==(const Slot&) const = default;
  };

  Slot& at(const Sequence& sequence, std::int32_t position) {
    const auto page = sequence.pages[static_cast<std::size_t>(position / kPageTokens)];
    return slots_[static_cast<std::size_t>(page * kPageTokens + position % kPageTokens)];
  }

  Slot Wanted(const Sequence& sequence, std::int32_t position) const {
    return {sequence.tokens[static_cast<std::size_t>(position)], position};
  }

  void Compute(const Work& work) {
    const Sequence& sequence = *work.sequence;
    const std::int32_t end = sequence.computed + work.rows;
    for (std::int32_t i = sequence.computed; i < end; ++i) {
      at(sequence, i) = Wanted(sequence, i);
      ++computed;
    }
    for (std::int32_t i = 0; i < end; ++i) CHECK(at(sequence, i) == Wanted(sequence, i));
  }

  void Extend(Sequence& sequence) {
    sequence.tokens.push_back((sequence.tokens.back() * 7 + 3) % 11);
    if (--left_.at(sequence.id) > 0) return;
    last = sequence.tokens;
    ended.push_back(sequence.id);
    Cancel(sequence.id);
  }

  std::int32_t max_rows_;

 public:
  Scheduler scheduler;

 private:
  std::vector<Slot> slots_;
  std::int64_t last_id_ = 0;
  std::map<std::int64_t, std::size_t> left_;  ///< answer tokens to come
};

void TestDecodingGoesOnBesideALongPrompt() {
  Machine machine({.pages = 64, .max_sequences = 4}, 16);
  machine.Add(Tokens(3), 100);
  machine.Step();
  machine.Add(Tokens(200, 1000), 1);
  for (int step = 0; step < 13; ++step) {
    CHECK((machine.Step() == std::map<std::int64_t, std::int32_t>{{1, 1}, {2, 15}}));
  }
}

void TestRequestsStartInOrder() {
  Machine machine({.pages = 4, .max_sequences = 4}, 64);
  machine.Add(Tokens(60), 4);
  machine.Add(Tokens(90, 1000), 1);  // has to wait, and is not overtaken
  machine.Add(Tokens(5, 2000), 1);
  std::vector<std::int64_t> order;
  while (!machine.scheduler.idle()) {
    for (const auto& [id, rows] : machine.Step()) {
      if (order.empty() || order.back() < id) order.push_back(id);
    }
  }
  CHECK((order == std::vector<std::int64_t>{1, 2, 3}));
}

void TestAPromptIsComputedOnce() {
  for (const std::size_t length : {1U, 32U, 33U, 64U, 65U, 100U}) {
    Machine machine({.pages = 64, .max_sequences = 4}, 48);
    for (int copy = 0; copy < 4; ++copy) machine.Add(Tokens(length), 1);
    while (machine.unfinished() > 0) machine.Step();
    const std::size_t shared = (length - 1) / kPageTokens * kPageTokens;
    CHECK(machine.computed == static_cast<std::int64_t>(4 * length - 3 * shared));
  }
}

void TestAnAnswerIsFoundAgainAsAPrompt() {
  Machine machine({.pages = 8, .max_sequences = 1}, 64);
  machine.Add(Tokens(20), 60);
  while (machine.unfinished() > 0) machine.Step();
  machine.computed = 0;
  machine.Add(machine.last, 1);
  while (machine.unfinished() > 0) machine.Step();
  CHECK(machine.computed == 80 - 64);  // two full pages of the 79 tokens that were computed
}

void TestTheYoungestYields() {
  Machine machine({.pages = 4, .max_sequences = 3}, 64);
  machine.Add(Tokens(30), 60);
  machine.Add(Tokens(20, 1000), 60);
  while (machine.unfinished() > 0) machine.Step();
  CHECK((machine.ended == std::vector<std::int64_t>{1, 2}));
  CHECK(machine.scheduler.pages_in_use() == 0);
  CHECK(machine.computed > 30 + 59 + 20 + 59);  // something was computed twice
}

void TestAnyMixKeepsEveryPageRight() {
  std::mt19937 random(20);
  const auto below = [&](std::size_t end) { return random() % end; };
  for (int trial = 0; trial < 60; ++trial) {
    const mlc::EngineLimits limits{.pages = 4 + static_cast<std::int32_t>(below(12)),
                                   .max_sequences = 1 + static_cast<std::int32_t>(below(6))};
    const auto max_rows = limits.max_sequences + static_cast<std::int32_t>(below(100));
    Machine machine(limits, max_rows);
    const auto capacity = static_cast<std::size_t>(limits.pages) * kPageTokens;
    std::vector<std::int64_t> ids;
    for (int step = 0; step < 400; ++step) {
      if (below(3) == 0 && ids.size() < 30) {
        const std::size_t length = 1 + below(capacity - 40);
        std::vector<std::int32_t> prompt = Tokens(length);
        if (length > 40) prompt[below(length)] += static_cast<std::int32_t>(below(2));
        ids.push_back(machine.Add(std::move(prompt), 1 + below(40)));
      }
      if (below(40) == 0 && !ids.empty()) machine.Cancel(ids[below(ids.size())]);
      machine.Step();
      CHECK(machine.scheduler.running() <= static_cast<std::size_t>(limits.max_sequences));
    }
    for (int step = 0; machine.unfinished() > 0; ++step) {
      CHECK(step < 100'000);
      machine.Step();
    }
    CHECK(machine.scheduler.idle() && machine.scheduler.pages_in_use() == 0);
  }
}

}  // namespace

int main() {
  TestDecodingGoesOnBesideALongPrompt();
  TestRequestsStartInOrder();
  TestAPromptIsComputedOnce();
  TestAnAnswerIsFoundAgainAsAPrompt();
  TestTheYoungestYields();
  TestAnyMixKeepsEveryPageRight();
}
