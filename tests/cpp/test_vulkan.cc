// Every operator of the Vulkan backend over edge shapes, against its definition in float64;
// attention against the CPU, whose own test knows the definition.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "cpp/check.h"
#include "cpu/backend.h"
#include "engine/logits.h"
#include "runtime/float16.h"
#include "vulkan/backend.h"

namespace {

using mlc::Activation;
using mlc::Backend;
using mlc::BatchSequence;
using mlc::Encoding;
using mlc::NormSpec;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

std::mt19937 generator{11};

Floats Random(std::size_t count, float spread = 1) {
  std::normal_distribution<float> normal(0, spread);
  Floats values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

/// A random matrix in one of the encodings, and what it holds.
class RandomMatrix {
 public:
  RandomMatrix(Encoding encoding, std::size_t rows, std::size_t cols) : rows_(rows), cols_(cols) {
    const std::size_t groups = (cols + 31) / 32;
    view_ = {encoding, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(cols), nullptr,
             nullptr};
    values = Doubles(rows * cols);
    if (encoding == Encoding::kFloat32 || encoding == Encoding::kFloat16) {
      for (double& value : values) {
        const float drawn = Random(1).front();
        halves_.push_back(mlc::FloatToFloat16(drawn));
        floats_.push_back(drawn);
        value = encoding == Encoding::kFloat32 ? drawn : mlc::Float16ToFloat(halves_.back());
      }
      view_.values = encoding == Encoding::kFloat32 ? static_cast<const void*>(floats_.data())
                                                    : halves_.data();
      return;
    }
    for (std::size_t i = 0; i < rows * groups * 4; ++i)
      words_.push_back(static_cast<std::uint32_t>(generator()));
    for (std::size_t i = 0; i < rows * groups; ++i) {
      floats_.push_back(0.1f + std::abs(Random(1, 0.1f).front()));
      halves_.push_back(mlc::FloatToFloat16(floats_.back()));
    }
    const bool half = encoding == Encoding::kQ4Float16;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t row = i / cols, col = i % cols, group = row * groups + col / 32;
      const std::uint32_t nibble = words_[row * groups * 4 + col / 8] >> (4 * (col % 8)) & 15u;
      values[i] = (static_cast<double>(nibble) - 7) *
                  (half ? mlc::Float16ToFloat(halves_[group]) : floats_[group]);
    }
    view_.values = words_.data();
    view_.scales = half ? static_cast<const void*>(halves_.data()) : floats_.data();
  }

  const mlc::MatrixView& view() const { return view_; }

  /// x * matrix^T; with `magnitudes` the same of all magnitudes.
  Doubles Times(const Doubles& x, bool magnitudes = false) const {
    Doubles out;
    for (std::size_t r = 0; r < x.size() / cols_; ++r) {
      for (std::size_t n = 0; n < rows_; ++n) {
        double sum = 0;
        for (std::size_t k = 0; k < cols_; ++k) {
          const double product = x[r * cols_ + k] * values[n * cols_ + k];
          sum += magnitudes ? std::abs(product) : product;
        }
        out.push_back(sum);
      }
    }
    return out;
  }

  Doubles values;

 private:
  std::size_t rows_, cols_;
  mlc::MatrixView view_;
  Floats floats_;
  std::vector<std::uint16_t> halves_;
  std::vector<std::uint32_t> words_;
};

/// x / sqrt(mean(x^2) + epsilon) * weight
Doubles Normed(const Doubles& x, const Floats& weight, double epsilon) {
  Doubles out;
  for (std::size_t first = 0; first < x.size(); first += weight.size()) {
    double squares = 0;
    for (std::size_t i = 0; i < weight.size(); ++i) squares += x[first + i] * x[first + i];
    const double scale = 1 / std::sqrt(squares / static_cast<double>(weight.size()) + epsilon);
    for (std::size_t i = 0; i < weight.size(); ++i) out.push_back(x[first + i] * scale * weight[i]);
  }
  return out;
}

double Activated(Activation activation, double x) {
  if (activation == Activation::kSilu) return x / (1 + std::exp(-x));
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
}

/// A step on the device: its sequences have these many rows. Logits of `logit_rows` are wanted.
class Step {
 public:
  Step(Backend& backend, const std::vector<std::int32_t>& rows,
       std::vector<std::int32_t> logit_rows = {})
      : backend_(backend), logit_rows_(std::move(logit_rows)) {
    for (const std::int32_t count : rows) {
      pages_.push_back({});
      for (std::int32_t i = 0; i * mlc::kPageTokens < count; ++i) pages_.back().push_back(last_++);
    }
    std::int32_t first = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      sequences_.push_back({first, rows[i], 0, pages_[i]});
      first += rows[i];
    }
    for (std::int32_t i = 0; i < first; ++i) tokens_.push_back(i * 3 % 7);
    cache_ = backend.MakeKvCache({1, 1, 16, last_, false});
  }

  template <typename Operators>
  Floats Run(const mlc::Buffer& out, std::size_t count, Operators operators,
             std::span<const mlc::TokenQuery> queries = {}) {
    const mlc::Batch batch{tokens_, sequences_, logit_rows_, queries};
    backend_.Begin(batch, *cache_);
    backend_.Run(part_++, operators);  // another part: what is recorded is not for this
    Floats values(count);
    backend_.Read(out, 0, values);
    return values;
  }

  const std::vector<std::int32_t>& tokens() const { return tokens_; }

 private:
  Backend& backend_;
  std::vector<std::int32_t> tokens_, logit_rows_;
  std::vector<std::vector<std::int32_t>> pages_;
  std::vector<BatchSequence> sequences_;
  std::int32_t last_ = 0, part_ = 0;
  std::unique_ptr<mlc::KvCache> cache_;
};

bool matrix_units = false;  // prompts are multiplied in float16

Doubles Widen(const Floats& values) { return {values.begin(), values.end()}; }

/// Ends the test unless each value of `found` is within `allowed` of what is expected.
void CheckClose(const std::string& what, const Floats& found, const Doubles& expected,
                const Doubles& allowed) {
  CHECK(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (std::abs(found[i] - expected[i]) <= allowed[i] + 1e-5) continue;
    std::fprintf(stderr, "%s: value %zu is %g, not %g +- %g\n", what.c_str(), i,
                 static_cast<double>(found[i]), expected[i], allowed[i]);
    std::exit(1);
  }
}

struct Shape {
  std::size_t rows, cols;
};
const std::vector<Shape> kShapes = {{2, 1}, {34, 33}, {130, 260}};
const std::vector<std::vector<std::int32_t>> kBatches = {
    {1}, {1, 1, 1}, {1, 40, 1, 30}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 67}};

/// The operators with one matrix, on one batch.
class ProductTest {
 public:
  ProductTest(Backend& backend, Encoding encoding, const Shape& shape)
      : backend_(backend), shape_(shape), matrix_(encoding, shape.rows, shape.cols) {
    name_ = "encoding " + std::to_string(static_cast<int>(encoding)) + ", " +
            std::to_string(shape.rows) + " x " + std::to_string(shape.cols);
  }

  void Run(const std::vector<std::int32_t>& batch) {
    count_ = std::accumulate(batch.begin(), batch.end(), 0);
    const bool prompt = batch.back() > 1;
    share_ = prompt && matrix_units ? 2e-3 : 1e-4;
    size_ = static_cast<std::size_t>(count_) * shape_.rows;
    batch_name_ = name_ + ", " + std::to_string(count_) + " rows, ";
    x_ = Random(static_cast<std::size_t>(count_) * shape_.cols);
    input_ = backend_.LoadVector(x_);
    std::vector<std::int32_t> all(static_cast<std::size_t>(count_));
    std::iota(all.begin(), all.end(), 0);
    Step step(backend_, batch, all);
    TestPlain(step);
    TestNormed(step);
  }

 private:
  Doubles Allow(const Doubles& magnitude) const {
    Doubles allowed;
    for (const double one : magnitude) allowed.push_back(share_ * one);
    return allowed;
  }

  void TestPlain(Step& step) {
    const Doubles product = matrix_.Times(Widen(x_)), magnitude = matrix_.Times(Widen(x_), true);
    const Floats before = Random(size_), weight = Random(shape_.rows);
    const auto sum = backend_.LoadVector(before), normed_sum = backend_.LoadVector(before);
    Doubles expected = product;
    for (std::size_t i = 0; i < size_; ++i) expected[i] += before[i];
    CheckClose(batch_name_ + "added",
               step.Run(*sum, size_,
                        [&] { backend_.AddProject(*plain_, nullptr, *input_, count_, *sum); }),
               expected, Allow(magnitude));

    const auto weight_buffer = backend_.LoadVector(weight);
    const NormSpec post{weight_buffer.get(), 1};
    expected = Normed(product, weight, 1);
    Doubles allowed(size_);
    for (std::size_t i = 0; i < size_; ++i) {
      expected[i] += before[i];
      const auto first =
          magnitude.begin() + static_cast<std::ptrdiff_t>(i / shape_.rows * shape_.rows);
      const double largest =
          *std::max_element(first, first + static_cast<std::ptrdiff_t>(shape_.rows));
      allowed[i] = 3 * share_ * largest * std::abs(weight[i % shape_.rows]);
    }
    CheckClose(batch_name_ + "normed and added",
               step.Run(*normed_sum, size_,
                        [&] { backend_.AddProject(*plain_, &post, *input_, count_, *normed_sum); }),
               expected, allowed);
  }

  void TestNormed(Step& step) {
    const Floats weight = Random(shape_.cols), bias = Random(shape_.rows, 10);
    const auto weight_buffer = backend_.LoadVector(weight), bias_buffer = backend_.LoadVector(bias);
    const auto out = backend_.Allocate(size_);
    const NormSpec norm{weight_buffer.get(), 1e-3f};
    const Doubles x = Normed(Widen(x_), weight, 1e-3);
    const Doubles product = matrix_.Times(x), magnitude = matrix_.Times(x, true);
    Doubles expected = product;
    for (std::size_t i = 0; i < size_; ++i) expected[i] += bias[i % shape_.rows];
    const auto project = [&] {
      backend_.Project(norm, *plain_, bias_buffer.get(), *input_, count_, *out);
    };
    CheckClose(batch_name_ + "projected", step.Run(*out, size_, project), expected,
               Allow(magnitude));

    for (std::size_t i = 0; i < size_; ++i) expected[i] = 3 * std::tanh(product[i] / 3);
    CheckClose(
        batch_name_ + "capped",
        step.Run(*out, size_, [&] { backend_.Logits(norm, *plain_, 3, *input_, 0, count_, *out); }),
        expected, Allow(magnitude));

    for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
      const std::size_t half = shape_.rows / 2;
      Doubles gated, allowed;
      for (std::size_t i = 0; i < size_ / 2; ++i) {
        const std::size_t at = i / half * shape_.rows + i % half;
        const double gate = Activated(activation, product[at]), up = product[at + half];
        const double gate_error = 1.2 * share_ * magnitude[at];
        const double up_error = share_ * magnitude[at + half];
        gated.push_back(gate * up);
        allowed.push_back(gate_error * std::abs(up) + std::abs(gate) * up_error +
                          gate_error * up_error);
      }
      CheckClose(
          batch_name_ + "gated",
          step.Run(*out, gated.size(),
                   [&] { backend_.Gate(norm, *paired_, activation, *input_, count_, *out); }),
          gated, allowed);
    }
  }

  Backend& backend_;
  const Shape shape_;
  const RandomMatrix matrix_;
  const std::unique_ptr<mlc::Matrix> plain_ = backend_.LoadMatrix(matrix_.view(), false);
  const std::unique_ptr<mlc::Matrix> paired_ = backend_.LoadMatrix(matrix_.view(), true);
  std::string name_, batch_name_;
  std::int32_t count_ = 0;
  std::size_t size_ = 0;
  double share_ = 0;
  Floats x_;
  std::unique_ptr<mlc::Buffer> input_;
};

void TestProducts(Backend& backend, Encoding encoding) {
  for (const Shape& shape : kShapes) {
    ProductTest test(backend, encoding, shape);
    for (const auto& batch : kBatches) test.Run(batch);
  }
}

/// Each sequence of a batch has the bits that it has by itself.
void TestRowsBesideChangeNoBit(Backend& backend, Encoding encoding, const Shape& shape) {
  const std::vector<std::int32_t> batch = {20, 50, 1, 1, 1, 1, 5};
  const RandomMatrix matrix(encoding, shape.rows, shape.cols);
  const auto loaded = backend.LoadMatrix(matrix.view(), false);
  const auto weight = backend.LoadVector(Random(shape.cols));
  const auto multiply = [&](const std::vector<std::int32_t>& rows, const Floats& x, bool normed) {
    const std::int32_t count = std::accumulate(rows.begin(), rows.end(), 0);
    const auto input = backend.LoadVector(x);
    const std::size_t size = static_cast<std::size_t>(count) * shape.rows;
    const auto out = backend.LoadVector(Floats(size));
    Step step(backend, rows);
    return step.Run(*out, size, [&] {
      if (normed) {
        backend.Project({weight.get(), 1e-3f}, *loaded, nullptr, *input, count, *out);
      } else {
        backend.AddProject(*loaded, nullptr, *input, count, *out);
      }
    });
  };
  for (const bool normed : {false, true}) {
    const Floats x = Random(79 * shape.cols);
    const Floats together = multiply(batch, x, normed);
    std::size_t first = 0;
    for (const std::int32_t rows : batch) {
      const std::size_t end = first + static_cast<std::size_t>(rows);
      const auto part = [&](const Floats& all, std::size_t width) {
        return Floats(all.begin() + static_cast<std::ptrdiff_t>(first * width),
                      all.begin() + static_cast<std::ptrdiff_t>(end * width));
      };
      CHECK(multiply({rows}, part(x, shape.cols), normed) == part(together, shape.rows));
      first = end;
    }
  }
}

void TestEmbedAndGather(Backend& backend, Encoding encoding) {
  for (const std::size_t cols : {1U, 33U, 130U}) {
    const RandomMatrix table(encoding, 7, cols);
    const auto matrix = backend.LoadMatrix(table.view(), false);
    Step step(backend, {1, 4}, {1, 4});
    const auto embedded = backend.Allocate(5 * cols), gathered = backend.Allocate(2 * cols);
    const Floats found = step.Run(*gathered, 2 * cols, [&] {
      backend.Embed(*matrix, 2, *embedded);
      backend.GatherRows(*embedded, static_cast<std::int32_t>(cols), *gathered);
    });
    for (std::size_t i = 0; i < found.size(); ++i) {
      const auto token = static_cast<std::size_t>(step.tokens()[i / cols == 0 ? 1 : 4]);
      CHECK(std::abs(found[i] - 2 * table.values[token * cols + i % cols]) < 1e-5);
    }
  }
}

/// Every query of a row of `vocab` logits that have many ties.
void TestRanking(Backend& backend, std::int32_t vocab) {
  const auto size = static_cast<std::size_t>(vocab);
  Floats logits = Random(3 * size, 2);
  for (std::size_t i = 0; i < size; ++i) logits[i] = std::round(logits[i]);  // ties
  if (vocab > 1) logits[size + 1] = -INFINITY;
  const mlc::Adjustment adjustments[] = {{0, 3, 1.5f, 0.25f}, {vocab - 1, -1, 2, 0}};
  const std::span<const mlc::Adjustment> adjusted(adjustments, vocab > 1 ? 2 : 1);
  for (const std::int32_t best : {1, 5, 100}) {
    for (const float share : {0.0f, 0.4f, 0.999999f}) {
      const std::vector<mlc::TokenQuery> queries = {
          {.adjustments = {}, .temperature = 1, .best = best},
          {.adjustments = adjusted, .temperature = 0.5f, .best = best},
          {.adjustments = {}, .temperature = 2, .share = share}};
      Step step(backend, {1, 1, 1}, {0, 1, 2});
      const auto buffer = backend.LoadVector(logits);
      const Floats found =
          step.Run(*buffer, logits.size(), [&] { backend.RankTokens(*buffer, vocab); }, queries);
      Floats expected = logits;
      for (const mlc::Adjustment& one : adjusted) {
        float& logit = expected[size + static_cast<std::size_t>(one.token)];
        logit += one.bias;
        logit = (logit > 0 ? logit / one.repetition : logit * one.repetition) - one.penalty;
      }
      for (std::size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i] == expected[i] || std::abs(found[i] - expected[i]) < 1e-5);
      }
      std::vector<mlc::Shortlist> answers(3);
      backend.ReadRanked(answers);
      for (std::size_t row = 0; row < 3; ++row) {
        const std::span<const float> x = std::span(found).subspan(row * size, size);
        const mlc::Shortlist& answer = answers[row];
        CHECK(answer.maximum == mlc::Maximum(x));
        Floats weights(x.begin(), x.end());
        const double sum = mlc::Exponentiate(answer.maximum, queries[row].temperature, weights);
        CheckClose("sum of row " + std::to_string(row) + " of " + std::to_string(vocab),
                   {answer.sum}, {sum}, {1e-3 * sum});
        for (const mlc::Ranked& one : answer.tokens) {
          CHECK(one.value == x[static_cast<std::size_t>(one.token)]);
        }
        std::vector<mlc::Ranked> tokens = answer.tokens;
        if (row < 2) {
          const auto least = std::ranges::count_if(x, [&](float v) { return v >= answer.least; });
          CHECK(answer.complete == (least <= 1024));
          if (!answer.complete) continue;
          CHECK(std::ssize(tokens) == least && least >= std::min(best, vocab));
          CHECK(best > 1 || answer.least == answer.maximum || vocab <= 256);
        } else {
          std::ranges::sort(tokens, {}, &mlc::Ranked::token);
          const std::int32_t first = tokens.front().token;
          CHECK(tokens.back().token - first + 1 == std::ssize(tokens));
          const double before = std::accumulate(weights.begin(), weights.begin() + first, 0.0);
          CHECK(std::abs(before + answer.rest - share * sum) < 1e-3 * sum);
        }
      }
    }
  }
}

void TestWhatIsNoNumberIsSeen(Backend& backend) {
  for (const float wrong : {NAN, INFINITY}) {
    Floats logits = Random(5000);
    logits[4321] = wrong;
    const auto buffer = backend.LoadVector(logits);
    Step step(backend, {1}, {0});
    const std::vector<mlc::TokenQuery> queries(1);
    step.Run(*buffer, 1, [&] { backend.RankTokens(*buffer, 5000); }, queries);
    std::vector<mlc::Shortlist> answers(1);
    backend.ReadRanked(answers);
    CHECK(!std::isfinite(answers[0].maximum));
  }
}

struct AttentionCase {
  const char* name;
  std::int32_t heads, kv_heads, head_dim, rotary_dim;
  bool norms = false, half = false;
  float softcap = 0;
  std::int32_t window = 0;
};

/// The attention of `chunks` of one sequence, one after another, with `backend`.
Floats Attend(Backend& backend, const AttentionCase& one, const Floats& qkv,
              const std::vector<std::int32_t>& chunks) {
  const std::int32_t width = (one.heads + 2 * one.kv_heads) * one.head_dim;
  const std::int32_t tokens = std::accumulate(chunks.begin(), chunks.end(), 0);
  Floats frequencies, norm;
  for (std::int32_t i = 0; i < one.rotary_dim / 2; ++i) {
    frequencies.push_back(std::pow(0.3f, static_cast<float>(i)));
  }
  for (std::int32_t i = 0; i < one.head_dim; ++i) {
    norm.push_back(0.5f + 0.1f * static_cast<float>(i % 7));
  }
  const auto frequency_buffer = backend.LoadVector(frequencies);
  const auto norm_buffer = backend.LoadVector(norm);
  const mlc::Buffer* const norms = one.norms ? norm_buffer.get() : nullptr;
  const mlc::AttentionSpec spec{.layer = 1,
                                .heads = one.heads,
                                .kv_heads = one.kv_heads,
                                .head_dim = one.head_dim,
                                .rotary_dim = one.rotary_dim,
                                .inverse_frequencies = frequency_buffer.get(),
                                .rotary_scale = 1.25f,
                                .q_norm = norms,
                                .k_norm = norms,
                                .norm_epsilon = 1e-3f,
                                .scale = 0.3f,
                                .softcap = one.softcap,
                                .window = one.window};
  std::vector<std::int32_t> pages((static_cast<std::size_t>(tokens) + 31) / 32);
  std::iota(pages.rbegin(), pages.rend(), 0);
  const auto cache = backend.MakeKvCache(
      {2, one.kv_heads, one.head_dim, static_cast<std::int32_t>(pages.size()), one.half});
  Floats all;
  std::int32_t past = 0;
  for (const std::int32_t rows : chunks) {
    const auto first = qkv.begin() + static_cast<std::ptrdiff_t>(past) * width;
    const auto buffer = backend.LoadVector(Floats(first, first + std::ptrdiff_t{rows} * width));
    Floats out(static_cast<std::size_t>(rows * one.heads * one.head_dim));
    const auto attended = backend.Allocate(out.size());
    const std::vector<std::int32_t> ids(static_cast<std::size_t>(rows));
    const std::vector<BatchSequence> sequences = {{0, rows, past, pages}};
    const mlc::Batch batch{ids, sequences, {}};
    backend.Begin(batch, *cache);
    backend.Run(0, [&] { backend.Attend(spec, *buffer, attended.get()); });
    backend.Read(*attended, 0, out);
    all.insert(all.end(), out.begin(), out.end());
    past += rows;
  }
  return all;
}

void TestAttention(Backend& backend) {
  const AttentionCase cases[] = {
      {"one head", 1, 1, 16, 16},
      {"grouped", 6, 2, 64, 64},
      {"odd dimension", 4, 1, 20, 12},
      {"no rotation, norms", 8, 8, 32, 0, true},
      {"half", 5, 1, 128, 128, false, true},
      {"cap, window", 4, 2, 48, 48, true, true, 2, 37},
      {"wide", 2, 1, 256, 256, false, true},
  };
  const auto cpu = mlc::cpu::MakeBackend();
  for (const AttentionCase& one : cases) {
    // Prompts, and decoding over the end of a split: at 64 on a processor, at 256 on a GPU.
    std::vector<std::int32_t> chunks = {61};
    chunks.insert(chunks.end(), 8, 1);
    chunks.push_back(186);
    chunks.insert(chunks.end(), 3, 1);
    const std::size_t width =
        static_cast<std::size_t>((one.heads + 2 * one.kv_heads) * one.head_dim);
    const Floats qkv = Random(258 * width);
    const Floats found = Attend(backend, one, qkv, chunks);
    const Floats expected = Attend(*cpu, one, qkv, chunks);
    CHECK(found.size() == expected.size());
    // Against halves matrix units round q, which moves scores, of a deviation of up to 5, by a few
    // thousandths.
    const float half_bound = matrix_units ? 1e-2f : 2e-3f;
    const float bound = one.half ? half_bound : matrix_units ? 2e-3f : 1e-4f;
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (!(std::abs(found[i] - expected[i]) <= bound)) {
        std::fprintf(stderr, "%s: value %zu is %g, not %g\n", one.name, i, found[i], expected[i]);
        std::exit(1);
      }
    }
  }
}

}  // namespace

int main() {
  const mlc::Discovery found = mlc::vulkan::Discover();
  if (found.devices.empty()) {
    const char* const required = std::getenv("MLC_LLM_REQUIRE_VULKAN");
    std::fprintf(stderr, "There is no Vulkan device: %s\n", found.reason.c_str());
    return required != nullptr && std::strcmp(required, "1") == 0 ? 1 : 77;  // CTest: skipped
  }
  matrix_units = std::ranges::count(found.devices.front().features, "cooperative-matrix") > 0;
  const auto backend = mlc::vulkan::MakeBackend(0);
  for (const Encoding encoding :
       {Encoding::kFloat32, Encoding::kFloat16, Encoding::kQ4Float16, Encoding::kQ4Float32}) {
    TestProducts(*backend, encoding);
    TestRowsBesideChangeNoBit(*backend, encoding, {66, 1700});
    TestRowsBesideChangeNoBit(*backend, encoding, {6, 8200});  // long: larger workgroups
    TestEmbedAndGather(*backend, encoding);
  }
  for (const std::int32_t vocab : {1, 255, 257, 5000, 300000}) TestRanking(*backend, vocab);
  TestWhatIsNoNumberIsSeen(*backend);
  TestAttention(*backend);
}
