#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>

#include "engine/request_check.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "runtime/thread_pool.h"

namespace mlc {
namespace {

EngineLimits Checked(const EngineLimits& limits, const Transformer& model) {
  const auto require = [](bool holds, const std::string& message) {
    if (!holds) throw std::invalid_argument(message);
  };
  const std::string rows = std::to_string(model.max_rows());
  require(limits.pages >= 1, "pages must be at least 1.");
  require(limits.max_sequences >= 1 && limits.max_sequences <= model.max_rows(),
          "max_sequences must be from 1 to the rows of a batch, " + rows + ".");
  require(limits.max_context >= 2, "max_context must be at least 2 tokens.");
  EngineLimits checked = limits;
  checked.max_context = static_cast<std::int32_t>(
      std::min<std::int64_t>(limits.max_context, std::int64_t{limits.pages} * kPageTokens));
  return checked;
}

/// The right to step; throws where another has it.
class Turn {
 public:
  explicit Turn(std::atomic<bool>& taken) : taken_(taken) {
    if (taken_.exchange(true)) throw std::runtime_error("The engine is in the middle of a step.");
  }
  ~Turn() { taken_ = false; }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  std::atomic<bool>& taken_;
};

}  // namespace

class Engine::Impl {
 public:
  Impl(std::shared_ptr<Transformer> model, const EngineLimits& limits)
      : model_(std::move(model)),
        limits_(Checked(limits, *model_)),
        vocab_(static_cast<std::size_t>(model_->config().vocab)),
        cache_(model_->MakeCache(limits_.pages)),
        scheduler_(limits_, model_->max_rows()) {}

  std::int64_t Submit(Request request) {
    CheckRequest(request, model_->config().vocab, limits_.max_context);
    auto sequence = std::make_unique<Sequence>(0, std::move(request));
    const std::lock_guard lock(inbox_mutex_);
    sequence->id = ++last_id_;
    submitted_.push_back(std::move(sequence));
    return last_id_;
  }

  void Cancel(std::int64_t request) {
    const std::lock_guard lock(inbox_mutex_);
    cancelled_.push_back(request);
  }

  bool Step(const std::function<void(const Event&)>& sink) {
    const Turn turn(stepping_);
    OpenInbox();
    ready_.clear();
    choices_.clear();
    const std::vector<Work> batch = scheduler_.Next();
    std::exception_ptr failure;
    try {
      if (!batch.empty()) Forward(batch);
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure) {
      for (const Work& work : batch) End(*work.sequence, Finish::kError);
    } else {
      Advance(batch);
    }
    std::ranges::stable_sort(events_, {}, &Event::request);
    // An event leaves the queue first: what a sink throws loses none and repeats none.
    while (!events_.empty()) {
      const Event event = std::move(events_.front());
      events_.pop_front();
      sink(event);
    }
    if (failure) std::rethrow_exception(failure);
    const std::lock_guard lock(inbox_mutex_);
    return !scheduler_.idle() || !submitted_.empty();
  }

 private:
  void OpenInbox() {
    std::vector<std::unique_ptr<Sequence>> submitted;
    std::vector<std::int64_t> cancelled;
    {
      const std::lock_guard lock(inbox_mutex_);
      submitted.swap(submitted_);
      cancelled.swap(cancelled_);
    }
    for (auto& sequence : submitted) scheduler_.Add(std::move(sequence));
    for (const std::int64_t id : cancelled) {
      if (const auto sequence = scheduler_.Remove(id)) Tell(*sequence, Finish::kCancelled);
    }
  }

  void Forward(std::span<const Work> batch) {
    std::vector<std::int32_t> tokens;
    std::vector<BatchSequence> sequences;
    logit_rows_.clear();
    for (const Work& work : batch) {
      Sequence& sequence = *work.sequence;
      const auto first_row = static_cast<std::int32_t>(tokens.size());
      const auto begin = sequence.tokens.begin() + sequence.computed;
      tokens.insert(tokens.end(), begin, begin + work.rows);
      sequences.push_back({first_row, work.rows, sequence.computed, sequence.pages});
      if (work.rows == sequence.pending()) {
        logit_rows_.push_back(first_row + work.rows - 1);
        ready_.push_back(&sequence);
      }
    }
    const bool asks = std::ranges::all_of(
        ready_, [](const Sequence* sequence) { return sequence->sampler.Asks(); });
    if (asks && model_->Ranks(ready_.size())) {
      Rank({tokens, sequences, logit_rows_});
    } else {
      logits_.resize(ready_.size() * vocab_);
      model_->Forward({tokens, sequences, logit_rows_}, *cache_, logits_);
      Sample();
    }
  }

  /// Lets the device find what the samplers ask for; few of them want to see logits then.
  void Rank(Batch batch) {
    std::vector<TokenQuery> queries;
    for (Sequence* sequence : ready_) {
      queries.push_back(sequence->sampler.Ask(static_cast<std::int32_t>(vocab_)));
    }
    batch.queries = queries;
    std::vector<std::size_t> undecided;
    choices_.resize(ready_.size());
    logits_.resize(ready_.size() * vocab_);
    model_->Rank(batch, *cache_, [&](std::size_t i, const Shortlist& answer) {
      if (auto choice = ready_[i]->sampler.Sample(answer)) {
        choices_[i] = *std::move(choice);
        return std::span<float>();
      }
      undecided.push_back(i);
      return RowOfLogits(i);
    });
    for (const std::size_t i : undecided) {
      choices_[i] = ready_[i]->sampler.SampleAdjusted(RowOfLogits(i));
    }
  }

  std::span<float> RowOfLogits(std::size_t i) {
    return std::span(logits_).subspan(i * vocab_, vocab_);
  }

  void Sample() {
    choices_.resize(ready_.size());
    const auto count = static_cast<std::int64_t>(ready_.size());
    ThreadPool::Global().ParallelFor(count, 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
        choices_[i] = SampleOne(ready_[i]->sampler, RowOfLogits(i));
      }
    });
  }

  /// Takes in what a batch has computed: keys and values, and a token wherever all are there.
  void Advance(std::span<const Work> batch) {
    for (const Work& work : batch) scheduler_.Computed(work);
    for (std::size_t i = 0; i < ready_.size(); ++i) Accept(*ready_[i], std::move(choices_[i]));
  }

  /// A body of ParallelFor must not throw: no memory means no choice.
  static Choice SampleOne(Sampler& sampler, std::span<float> logits) noexcept {
    try {
      return sampler.Sample(logits);
    } catch (const std::exception&) {
      return {};
    }
  }

  void Accept(Sequence& sequence, Choice choice) {
    if (choice.token < 0) return End(sequence, Finish::kError);
    sequence.tokens.push_back(choice.token);
    const std::size_t answer = sequence.tokens.size() - sequence.prompt_size;
    Finish finish = Finish::kNone;
    if (std::ranges::count(sequence.stop_tokens, choice.token) > 0) {
      finish = Finish::kStop;
    } else if (answer >= static_cast<std::size_t>(sequence.max_tokens) ||
               sequence.tokens.size() >= static_cast<std::size_t>(limits_.max_context)) {
      finish = Finish::kLength;
    }
    Tell(sequence, finish, std::move(choice));
    if (finish != Finish::kNone) scheduler_.Remove(sequence.id);
  }

  void End(Sequence& sequence, Finish finish) {
    Tell(sequence, finish);
    scheduler_.Remove(sequence.id);
  }

  void Tell(const Sequence& sequence, Finish finish, Choice choice = {}) {
    events_.push_back({.request = sequence.id,
                       .token = choice.token,
                       .finish = finish,
                       .logprob = choice.logprob,
                       .top_logprobs = std::move(choice.top_logprobs),
                       .reused = std::max(sequence.reused, 0)});
  }

  const std::shared_ptr<Transformer> model_;
  const EngineLimits limits_;
  const std::size_t vocab_;
  const std::unique_ptr<KvCache> cache_;

  // Only the thread that steps touches these.
  std::atomic<bool> stepping_ = false;
  Scheduler scheduler_;
  std::vector<std::int32_t> logit_rows_;
  std::vector<Sequence*> ready_;  ///< whose next token the batch decides: one for each logit row
  std::vector<Choice> choices_;   ///< of these
  std::vector<float> logits_;     ///< [logit_rows, vocab]
  std::deque<Event> events_;      ///< not handed out yet

  std::mutex inbox_mutex_;  ///< guards what follows
  std::int64_t last_id_ = 0;
  std::vector<std::unique_ptr<Sequence>> submitted_;
  std::vector<std::int64_t> cancelled_;
};

Engine::Engine(std::shared_ptr<Transformer> model, const EngineLimits& limits)
    : impl_(std::make_unique<Impl>(std::move(model), limits)) {}

Engine::~Engine() = default;

std::int64_t Engine::Submit(Request request) { return impl_->Submit(std::move(request)); }

void Engine::Cancel(std::int64_t request) { impl_->Cancel(request); }

bool Engine::Step(const std::function<void(const Event&)>& sink) { return impl_->Step(sink); }

}  // namespace mlc
