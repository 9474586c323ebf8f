#include "model/transformer.h"

#include <limits>
#include <string_view>
#include <vector>

#include "cpp/check.h"
#include "cpp/environment.h"
#include "cpp/tiny_model.h"

namespace {

using mlc::Batch;
using mlc::BatchSequence;
using Tokens = std::vector<std::int32_t>;

constexpr std::size_t kVocab = 100;

/// A step that is right, for a test to make wrong.
struct Step {
  Tokens tokens = {3, 1, 4, 1, 5};
  Tokens first_pages = {2}, second_pages = {0, 1};
  std::vector<BatchSequence> sequences = {{0, 2, 0, first_pages}, {2, 3, 31, second_pages}};
  Tokens logit_rows = {1, 4};

  Batch batch() const { return {tokens, sequences, logit_rows}; }
};

template <typename Change>
void TestRefusal(Change change, std::string_view words) {
  const TinyModel model(8);
  const auto cache = model.get()->MakeCache(3);
  Step step;
  std::vector<float> logits(step.logit_rows.size() * kVocab);
  model.get()->Forward(step.batch(), *cache, logits);
  change(step);
  logits.resize(step.logit_rows.size() * kVocab);
  CHECK_THROWS(model.get()->Forward(step.batch(), *cache, logits), std::invalid_argument, words);
}

void TestRefusals() {
  TestRefusal([](Step& s) { s.tokens[1] = -1; }, "token -1");
  TestRefusal([](Step& s) { s.tokens[4] = 100; }, "token 100");
  TestRefusal([](Step& s) { s.tokens.clear(); }, "from 1 to 8 tokens");
  TestRefusal([](Step& s) { s.tokens.assign(9, 1); }, "from 1 to 8 tokens");
  TestRefusal([](Step& s) { s.tokens.push_back(1); }, "5 rows for 6 tokens");
  TestRefusal([](Step& s) { s.sequences.clear(); }, "0 rows for 5 tokens");
  TestRefusal([](Step& s) { s.sequences[0].rows = 0; }, "no rows");
  TestRefusal([](Step& s) { s.sequences[1].first_row = 3; }, "follow one another");
  TestRefusal([](Step& s) { s.sequences[0].past = -1; }, "negative past");
  TestRefusal([](Step& s) { s.sequences[0].past = 31; }, "33 tokens needs 2 pages");
  TestRefusal([](Step& s) { s.sequences[0].past = std::numeric_limits<std::int32_t>::max(); },
              "needs 67108865 pages");
  TestRefusal([](Step& s) { s.second_pages[1] = 3; }, "no page 3");
  TestRefusal([](Step& s) { s.second_pages[0] = -1; }, "no page -1");
  TestRefusal([](Step& s) { s.second_pages[1] = 2; }, "Page 2 would be written");
  TestRefusal([](Step& s) { s.logit_rows = {4, 1}; }, "ascend");
  TestRefusal([](Step& s) { s.logit_rows = {1, 1}; }, "ascend");
  TestRefusal([](Step& s) { s.logit_rows = {5}; }, "rows of the batch");
  TestRefusal([](Step& s) { s.logit_rows = {-1}; }, "ascend");
}

void TestLogitsOfAnotherSize() {
  const TinyModel model(8);
  const auto cache = model.get()->MakeCache(3);
  std::vector<float> logits(kVocab);
  CHECK_THROWS(model.get()->Forward(Step().batch(), *cache, logits), std::invalid_argument,
               "[logit_rows, vocab]");
}

void TestCacheOfAnotherModel() {
  const TinyModel model(8);
  const auto backend = mlc::cpu::MakeBackend();
  mlc::KvLayout layout = model.get()->CacheLayout(3);
  layout.half = true;
  const auto cache = backend->MakeKvCache(layout);
  std::vector<float> logits(2 * kVocab);
  CHECK_THROWS(model.get()->Forward(Step().batch(), *cache, logits), std::invalid_argument,
               "another model");
  CHECK_THROWS(model.get()->MakeCache(0), std::invalid_argument, "at least one page");
}

/// The logits of every token of a text, run in chunks of `chunk` rows.
std::vector<float> RunText(std::int32_t max_rows, std::int32_t chunk) {
  const TinyModel model(max_rows);
  const auto cache = model.get()->MakeCache(3);
  const Tokens pages = {1, 2, 0};
  std::vector<float> all;
  for (std::int32_t past = 0; past < 70; past += chunk) {
    const std::int32_t rows = std::min(chunk, 70 - past);
    Tokens tokens, logit_rows;
    for (std::int32_t i = 0; i < rows; ++i) {
      tokens.push_back((past + i) * 7 % 100);
      logit_rows.push_back(i);
    }
    const std::vector<BatchSequence> sequences = {{0, rows, past, pages}};
    std::vector<float> logits(static_cast<std::size_t>(rows) * kVocab);
    model.get()->Forward({tokens, sequences, logit_rows}, *cache, logits);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

void TestChunks() {
  const std::vector<float> whole = RunText(70, 70);
  for (const float logit : whole) CHECK(std::isfinite(logit));
  for (const std::int32_t chunk : {1, 9, 33}) CHECK(RunText(33, chunk) == whole);
}

/// Only the rows that were asked for, and none: the same logits, the same keys and values.
void TestChosenRows() {
  const std::vector<float> whole = RunText(70, 70);
  const TinyModel model(70);
  const auto cache = model.get()->MakeCache(3);
  const Tokens pages = {1, 2, 0};
  Tokens tokens;
  for (std::int32_t i = 0; i < 70; ++i) tokens.push_back(i * 7 % 100);
  const std::span<const std::int32_t> text(tokens);
  const std::vector<BatchSequence> first = {{0, 50, 0, pages}}, second = {{0, 20, 50, pages}};
  model.get()->Forward({text.first(50), first, {}}, *cache, {});
  const Tokens rows = {3, 19};
  std::vector<float> logits(2 * kVocab);
  model.get()->Forward({text.last(20), second, rows}, *cache, logits);
  for (std::size_t i = 0; i < kVocab; ++i) {
    CHECK(logits[i] == whole[53 * kVocab + i]);
    CHECK(logits[kVocab + i] == whole[69 * kVocab + i]);
  }
}

}  // namespace

int main() {
  SetVariable("MLC_LLM_NUM_THREADS", "3");
  TestRefusals();
  TestLogitsOfAnotherSize();
  TestCacheOfAnotherModel();
  TestChunks();
  TestChosenRows();
}
