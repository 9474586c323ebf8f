#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <vector>

#include "cpp/check.h"
#include "cpp/environment.h"
#include "cpp/tiny_model.h"

namespace {

using mlc::Engine;
using mlc::EngineLimits;
using mlc::Event;
using mlc::Finish;
using mlc::Request;
using Tokens = std::vector<std::int32_t>;

constexpr EngineLimits kRoomy{.pages = 64, .max_sequences = 4, .max_context = 512};

Tokens Prompt(std::size_t length, std::int32_t salt = 0) {
  Tokens tokens;
  for (std::size_t i = 0; i < length; ++i) {
    tokens.push_back((static_cast<std::int32_t>(i * i) + salt) % 100);
  }
  return tokens;
}

/// What came of one request.
struct Answer {
  Tokens tokens;
  std::vector<float> logprobs;
  Finish finish = Finish::kNone;
  std::int32_t reused = -1;
};

/// Takes in events, and checks that nothing follows a request's end.
class Answers {
 public:
  void operator()(const Event& event) {
    Answer& answer = answers_[event.request];
    CHECK(answer.finish == Finish::kNone);
    CHECK(event.token >= 0 || event.finish != Finish::kNone);
    if (event.token >= 0) {
      answer.tokens.push_back(event.token);
      answer.logprobs.push_back(event.logprob);
    }
    CHECK(answer.reused < 0 || answer.reused == event.reused);
    answer.reused = event.reused;
    answer.finish = event.finish;
  }

  const Answer& at(std::int64_t request) const { return answers_.at(request); }
  bool Has(std::int64_t request) const { return answers_.contains(request); }

 private:
  std::map<std::int64_t, Answer> answers_;
};

void Drain(Engine& engine, Answers& answers) {
  while (engine.Step(std::ref(answers))) {
  }
}

Answer Alone(const Request& request) {
  const TinyModel model(512);
  Engine engine(model.get(), kRoomy);
  Answers answers;
  const std::int64_t id = engine.Submit(request);
  Drain(engine, answers);
  return answers.at(id);
}

/// Requests of every kind: greedy and drawn, long and short, with and without penalties.
std::vector<Request> Mixed() {
  std::vector<Request> requests;
  for (int i = 0; i < 10; ++i) {
    Request request;
    request.prompt = Prompt(static_cast<std::size_t>(1 + i * 23 % 150), i % 3);
    request.max_tokens = 5 + i * 13 % 60;
    request.sampling.temperature = i % 3 == 0 ? 0.0f : 0.9f;
    request.sampling.seed = static_cast<std::uint64_t>(i);
    request.sampling.top_p = i % 2 == 0 ? 1.0f : 0.9f;
    request.sampling.top_k = i % 4 == 1 ? 20 : 0;
    request.sampling.repetition_penalty = i % 5 == 2 ? 1.2f : 1.0f;
    request.sampling.frequency_penalty = i % 5 == 3 ? 0.5f : 0.0f;
    request.sampling.top_logprobs = 0;
    requests.push_back(std::move(request));
  }
  return requests;
}

/// The same tokens and the same log-probabilities, bit by bit, whatever runs beside, in whatever
/// chunks, after reuse of another's pages or after a loss of its own.
void TestARequestDependsOnItselfAlone() {
  const std::vector<Request> requests = Mixed();
  std::vector<Answer> alone;
  for (const Request& request : requests) alone.push_back(Alone(request));
  for (const std::int32_t max_rows : {4, 7, 64, 512}) {
    for (const std::int32_t pages : {7, 11, 64}) {  // seven pages are just enough for the longest
      const TinyModel model(max_rows);
      Engine engine(model.get(), {.pages = pages, .max_sequences = 4, .max_context = 512});
      for (int round = 0; round < 2; ++round) {
        Answers answers;
        std::vector<std::int64_t> ids;
        for (const Request& request : requests) ids.push_back(engine.Submit(request));
        Drain(engine, answers);
        for (std::size_t i = 0; i < ids.size(); ++i) {
          CHECK(answers.at(ids[i]).tokens == alone[i].tokens);
          CHECK(answers.at(ids[i]).logprobs == alone[i].logprobs);
          CHECK(answers.at(ids[i]).finish == alone[i].finish);
        }
      }
    }
  }
}

void TestAPromptIsReused() {
  const TinyModel model(512);
  Engine engine(model.get(), kRoomy);
  for (const auto& [length, reused] :
       {std::pair<std::size_t, int>{100, 0}, {100, 96}, {97, 96}, {96, 64}, {31, 0}}) {
    Answers answers;
    const std::int64_t id = engine.Submit({.prompt = Prompt(length), .max_tokens = 1});
    Drain(engine, answers);
    CHECK(answers.at(id).reused == reused);
  }
}

void TestEnds() {
  Request request{.prompt = Prompt(10), .max_tokens = 30, .sampling = {.temperature = 0}};
  const Answer whole = Alone(request);
  CHECK(whole.finish == Finish::kLength && whole.tokens.size() == 30);

  std::size_t place = 1;  // of a token that the answer did not have before
  while (std::ranges::count(std::span(whole.tokens).first(place), whole.tokens[place]) > 0) ++place;
  request.stop_tokens = {whole.tokens[place]};
  const Answer stopped = Alone(request);
  CHECK(stopped.finish == Finish::kStop && stopped.tokens.size() == place + 1);

  request.stop_tokens.clear();
  request.max_tokens = 100'000;
  const TinyModel model(512);
  Engine engine(model.get(), {.pages = 64, .max_sequences = 1, .max_context = 50});
  Answers answers;
  const std::int64_t id = engine.Submit(request);
  Drain(engine, answers);
  CHECK(answers.at(id).finish == Finish::kLength && answers.at(id).tokens.size() == 40);
}

void TestRefusals() {
  const TinyModel model(64);
  Engine engine(model.get(), {.pages = 4, .max_sequences = 2, .max_context = 1000});
  const auto refuse = [&](std::string_view words, auto spoil) {
    Request request{.prompt = Prompt(10), .max_tokens = 5};
    spoil(request);
    CHECK_THROWS(engine.Submit(request), std::invalid_argument, words);
  };
  refuse("128 tokens, but there is room for 128", [](Request& r) { r.prompt = Prompt(128); });
  refuse("prompt must be", [](Request& r) { r.prompt.clear(); });
  refuse("prompt holds token 100", [](Request& r) { r.prompt[3] = 100; });
  refuse("prompt holds token -1", [](Request& r) { r.prompt[3] = -1; });
  refuse("stop_tokens holds token 101", [](Request& r) { r.stop_tokens = {101}; });
  refuse("max_tokens must be", [](Request& r) { r.max_tokens = 0; });
  refuse("temperature must be", [](Request& r) { r.sampling.temperature = -1; });
  refuse("temperature must be", [](Request& r) { r.sampling.temperature = std::nanf(""); });
  refuse("top_p must be", [](Request& r) { r.sampling.top_p = 0; });
  refuse("top_k must be", [](Request& r) { r.sampling.top_k = -1; });
  refuse("min_p must be", [](Request& r) { r.sampling.min_p = 1.5f; });
  refuse("repetition_penalty must be", [](Request& r) { r.sampling.repetition_penalty = 0; });
  refuse("presence_penalty must be", [](Request& r) { r.sampling.presence_penalty = INFINITY; });
  refuse("frequency_penalty must", [](Request& r) { r.sampling.frequency_penalty = -INFINITY; });
  refuse("top_logprobs must be", [](Request& r) { r.sampling.top_logprobs = 101; });
  refuse("logit_bias holds token 100", [](Request& r) { r.sampling.logit_bias = {{100, 1.f}}; });
  refuse("logit_bias must be", [](Request& r) { r.sampling.logit_bias = {{1, INFINITY}}; });

  const auto limit = [&](std::string_view words, const EngineLimits& limits) {
    CHECK_THROWS(Engine(model.get(), limits), std::invalid_argument, words);
  };
  limit("pages must be", {.pages = 0, .max_sequences = 1, .max_context = 10});
  limit("max_sequences must be", {.pages = 1, .max_sequences = 0, .max_context = 10});
  limit("max_sequences must be", {.pages = 1, .max_sequences = 65, .max_context = 10});
  limit("max_context must be", {.pages = 1, .max_sequences = 1, .max_context = 1});
}

void TestCancellationInEveryPhase() {
  const TinyModel model(16);
  Engine engine(model.get(), {.pages = 16, .max_sequences = 2, .max_context = 512});
  Answers answers;
  const auto submit = [&](std::size_t length) {
    return engine.Submit({.prompt = Prompt(length), .max_tokens = 50});
  };
  const std::int64_t decoding = submit(3), prefilling = submit(400), waiting = submit(100);
  for (int step = 0; step < 3; ++step) engine.Step(std::ref(answers));
  const std::int64_t unseen = submit(5);
  CHECK(answers.at(decoding).tokens.size() == 3 && !answers.Has(prefilling));
  for (const std::int64_t id : {unseen, waiting, prefilling, decoding}) {
    engine.Cancel(id);
    engine.Cancel(id);
  }
  CHECK(!engine.Step(std::ref(answers)));
  for (const std::int64_t id : {unseen, waiting, prefilling, decoding}) {
    CHECK(answers.at(id).finish == Finish::kCancelled);
  }
  engine.Cancel(decoding);
  engine.Cancel(12345);
  // All the pages are there again.
  const std::int64_t last = engine.Submit({.prompt = Prompt(511, 50), .max_tokens = 1});
  Drain(engine, answers);
  CHECK(answers.at(last).finish == Finish::kLength);
}

/// The CPU, but `Read` fails or gives NaN when told to.
class Faulty final : public mlc::Backend {
 public:
  std::unique_ptr<mlc::Matrix> LoadMatrix(const mlc::MatrixView& view, bool paired) override {
    return cpu_->LoadMatrix(view, paired);
  }
  std::unique_ptr<mlc::Buffer> LoadVector(std::span<const float> values) override {
    return cpu_->LoadVector(values);
  }
  std::unique_ptr<mlc::Buffer> Allocate(std::size_t floats) override {
    return cpu_->Allocate(floats);
  }
  std::unique_ptr<mlc::KvCache> MakeKvCache(const mlc::KvLayout& layout) override {
    return cpu_->MakeKvCache(layout);
  }
  void Begin(const mlc::Batch& batch, mlc::KvCache& cache) override { cpu_->Begin(batch, cache); }
  void Run(std::int32_t part, const std::function<void()>& operators) override {
    cpu_->Run(part, operators);
  }
  void Embed(const mlc::Matrix& table, float scale, mlc::Buffer& out) override {
    cpu_->Embed(table, scale, out);
  }
  void Project(const mlc::NormSpec& norm, const mlc::Matrix& matrix, const mlc::Buffer* bias,
               const mlc::Buffer& x, std::int32_t rows, mlc::Buffer& out) override {
    cpu_->Project(norm, matrix, bias, x, rows, out);
  }
  void Attend(const mlc::AttentionSpec& spec, mlc::Buffer& qkv, mlc::Buffer* out) override {
    cpu_->Attend(spec, qkv, out);
  }
  void AddProject(const mlc::Matrix& matrix, const mlc::NormSpec* post_norm, const mlc::Buffer& x,
                  std::int32_t rows, mlc::Buffer& residual) override {
    cpu_->AddProject(matrix, post_norm, x, rows, residual);
  }
  void Gate(const mlc::NormSpec& norm, const mlc::Matrix& matrix, mlc::Activation activation,
            const mlc::Buffer& x, std::int32_t rows, mlc::Buffer& out) override {
    cpu_->Gate(norm, matrix, activation, x, rows, out);
  }
  void GatherRows(const mlc::Buffer& x, std::int32_t width, mlc::Buffer& out) override {
    cpu_->GatherRows(x, width, out);
  }
  void Logits(const mlc::NormSpec& norm, const mlc::Matrix& matrix, float cap, const mlc::Buffer& x,
              std::int32_t first_row, std::int32_t rows, mlc::Buffer& out) override {
    cpu_->Logits(norm, matrix, cap, x, first_row, rows, out);
  }
  void Read(const mlc::Buffer& x, std::size_t first, std::span<float> out) override {
    cpu_->Read(x, first, out);
    if (fails) throw std::runtime_error("The device is lost.");
    if (first_is_nan && !out.empty()) out[0] = std::nanf("");
  }

  bool fails = false;
  bool first_is_nan = false;

 private:
  std::shared_ptr<mlc::Backend> cpu_ = mlc::cpu::MakeBackend();
};

void TestAFailureEndsTheBatchAndNothingElse() {
  const auto device = std::make_shared<Faulty>();
  const TinyModel model(64, device);
  Engine engine(model.get(), {.pages = 4, .max_sequences = 2, .max_context = 128});
  Answers answers;
  const Request request{.prompt = Prompt(40), .max_tokens = 4, .sampling = {.temperature = 0}};
  const std::int64_t first = engine.Submit(request), second = engine.Submit(request);
  const std::int64_t waiting = engine.Submit(request);
  while (!answers.Has(first) || !answers.Has(second)) engine.Step(std::ref(answers));
  device->fails = true;
  CHECK_THROWS(engine.Step(std::ref(answers)), std::runtime_error, "device is lost");
  device->fails = false;
  CHECK(answers.at(first).finish == Finish::kError && answers.at(first).tokens.size() >= 1);
  CHECK(answers.at(second).finish == Finish::kError && !answers.Has(waiting));
  Drain(engine, answers);
  CHECK(answers.at(waiting).finish == Finish::kLength);
  CHECK(answers.at(waiting).tokens == Alone(request).tokens);
}

void TestNanEndsOneRequest() {
  const auto device = std::make_shared<Faulty>();
  const TinyModel model(64, device);
  Engine engine(model.get(), {.pages = 8, .max_sequences = 2, .max_context = 128});
  Answers answers;
  const Request request{.prompt = Prompt(20), .max_tokens = 8, .sampling = {.temperature = 0}};
  const std::int64_t first = engine.Submit(request), second = engine.Submit(request);
  engine.Step(std::ref(answers));
  device->first_is_nan = true;
  engine.Step(std::ref(answers));
  device->first_is_nan = false;
  Drain(engine, answers);
  CHECK(answers.at(first).finish == Finish::kError && answers.at(first).tokens.size() == 1);
  CHECK(answers.at(second).finish == Finish::kLength);
  CHECK(answers.at(second).tokens == Alone(request).tokens);
}

void TestASinkThatThrowsLosesNoEvent() {
  const TinyModel model(64);
  Engine engine(model.get(), kRoomy);
  std::vector<std::int64_t> ids, seen;
  for (int i = 0; i < 3; ++i) ids.push_back(engine.Submit({.prompt = {1}, .max_tokens = 1}));
  const auto sink = [&](const Event& event) {
    seen.push_back(event.request);
    if (event.request == ids[0]) throw std::logic_error("no more");
    CHECK_THROWS(engine.Step([](const Event&) {}), std::runtime_error, "in the middle of a step");
  };
  CHECK_THROWS(engine.Step(sink), std::logic_error, "no more");
  CHECK(seen.size() == 1 && !engine.Step(sink));
  CHECK(seen == ids);
}

/// Many threads submit, and cancel every third of their requests, while one steps.
void TestThreads() {
  constexpr int kThreads = 4, kRequests = 12;
  const std::vector<Request> requests = Mixed();
  std::vector<Tokens> expected;
  for (const Request& request : requests) expected.push_back(Alone(request).tokens);
  const TinyModel model(32);
  Engine engine(model.get(), {.pages = 12, .max_sequences = 4, .max_context = 512});
  Answers answers;
  std::atomic<int> at_work = kThreads;
  std::vector<std::vector<std::int64_t>> ids(kThreads);
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::size_t i = 0; i < kRequests; ++i) {
        ids[thread].push_back(engine.Submit(requests[(thread + i) % requests.size()]));
        if (i % 3 == 2) engine.Cancel(ids[thread][i]);
      }
      --at_work;
    });
  }
  while (engine.Step(std::ref(answers)) || at_work > 0) {
  }
  for (std::thread& thread : threads) thread.join();
  Drain(engine, answers);
  for (std::size_t thread = 0; thread < kThreads; ++thread) {
    for (std::size_t i = 0; i < kRequests; ++i) {
      const Answer& answer = answers.at(ids[thread][i]);
      CHECK(answer.finish != Finish::kNone && answer.finish != Finish::kError);
      if (i % 3 != 2) CHECK(answer.tokens == expected[(thread + i) % requests.size()]);
    }
  }
}

}  // namespace

int main() {
  SetVariable("MLC_LLM_NUM_THREADS", "2");
  TestARequestDependsOnItselfAlone();
  TestAPromptIsReused();
  TestEnds();
  TestRefusals();
  TestCancellationInEveryPhase();
  TestAFailureEndsTheBatchAndNothingElse();
  TestNanEndsOneRequest();
  TestASinkThatThrowsLosesNoEvent();
  TestThreads();
}
