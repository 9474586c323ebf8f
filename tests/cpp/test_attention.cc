#include <algorithm>
#include <atomic>
#include <cmath>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "cpp/check.h"
#include "cpp/environment.h"
#include "cpu/backend.h"
#include "cpu/isa.h"
#include "cpu/memory.h"
#include "runtime/float16.h"
#include "runtime/thread_pool.h"

namespace {

using mlc::AttentionSpec;
using mlc::BatchSequence;
using mlc::kPageTokens;
using Floats = std::vector<float>;

/// One kind of attention, for sequences of `tokens` tokens.
struct Case {
  std::string_view name;
  std::int32_t heads, kv_heads, head_dim, rotary_dim;
  std::int32_t window = 0;
  float softcap = 0;
  bool half = false;
  bool norms = false;
  std::int32_t tokens = 75;
};

constexpr Case kCases[] = {
    {.name = "one head", .heads = 1, .kv_heads = 1, .head_dim = 16, .rotary_dim = 16},
    {.name = "grouped", .heads = 8, .kv_heads = 2, .head_dim = 64, .rotary_dim = 64},
    {.name = "odd heads", .heads = 10, .kv_heads = 2, .head_dim = 20, .rotary_dim = 20},
    {.name = "partial", .heads = 4, .kv_heads = 4, .head_dim = 24, .rotary_dim = 6},
    {.name = "no rotation", .heads = 3, .kv_heads = 3, .head_dim = 8, .rotary_dim = 0},
    {.name = "norms", .heads = 4, .kv_heads = 2, .head_dim = 32, .rotary_dim = 32, .norms = true},
    {.name = "window", .heads = 4, .kv_heads = 2, .head_dim = 16, .rotary_dim = 16, .window = 13},
    {.name = "self", .heads = 2, .kv_heads = 2, .head_dim = 16, .rotary_dim = 16, .window = 1},
    {.name = "cap", .heads = 4, .kv_heads = 2, .head_dim = 16, .rotary_dim = 16, .softcap = 2},
    {.name = "half", .heads = 8, .kv_heads = 2, .head_dim = 80, .rotary_dim = 80, .half = true},
    {.name = "splits", .heads = 2, .kv_heads = 1, .head_dim = 16, .rotary_dim = 16, .tokens = 600},
    {.name = "window over splits",
     .heads = 2,
     .kv_heads = 1,
     .head_dim = 16,
     .rotary_dim = 16,
     .window = 290,
     .half = true,
     .tokens = 600},
};

std::size_t Size(std::int64_t value) { return static_cast<std::size_t>(value); }

/// Everything random that a case needs, and its attention, on the backend and by definition.
class Attention {
 public:
  explicit Attention(const Case& shape) : case_(shape), backend_(mlc::cpu::MakeBackend()) {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    qkv_.resize(Size(shape.tokens) * Width());
    for (float& value : qkv_) value = normal(random);
    for (std::int32_t i = 0; i < shape.rotary_dim / 2; ++i) {
      frequencies_.push_back(std::pow(0.3f, static_cast<float>(i)));
    }
    for (std::int32_t i = 0; i < shape.head_dim; ++i) {
      q_norm_.push_back(normal(random));
      k_norm_.push_back(normal(random));
    }
    frequency_buffer_ = backend_->LoadVector(frequencies_);
    q_norm_buffer_ = backend_->LoadVector(q_norm_);
    k_norm_buffer_ = backend_->LoadVector(k_norm_);
    spec_ = {.layer = 1,
             .heads = shape.heads,
             .kv_heads = shape.kv_heads,
             .head_dim = shape.head_dim,
             .rotary_dim = shape.rotary_dim,
             .inverse_frequencies = frequency_buffer_.get(),
             .rotary_scale = 1.5f,
             .q_norm = shape.norms ? q_norm_buffer_.get() : nullptr,
             .k_norm = shape.norms ? k_norm_buffer_.get() : nullptr,
             .norm_epsilon = 1e-3f,
             .scale = 0.3f,
             .softcap = shape.softcap,
             .window = shape.window};
  }

  /// The result of all tokens, computed in chunks of these sizes, the last one again and again.
  /// With `beside`, a second sequence of the same tokens runs in every batch, one chunk behind.
  Floats Run(const std::vector<std::int32_t>& chunks, bool beside = false) {
    const std::int32_t pages = (case_.tokens + kPageTokens - 1) / kPageTokens;
    const auto cache = backend_->MakeKvCache({.layers = 2,
                                              .kv_heads = case_.kv_heads,
                                              .head_dim = case_.head_dim,
                                              .pages = 2 * pages,
                                              .half = case_.half});
    Poison(*cache);
    std::vector<std::int32_t> first_pages, second_pages;
    for (std::int32_t i = 0; i < pages; ++i) {
      first_pages.push_back(2 * pages - 1 - 2 * i);  // out of order
      second_pages.push_back(2 * i);
    }
    Floats out(Size(case_.tokens) * OutWidth());
    std::int32_t past = 0, second_past = 0;
    for (std::size_t chunk = 0; past < case_.tokens; ++chunk) {
      const std::int32_t wanted = chunks[std::min(chunk, chunks.size() - 1)];
      const std::int32_t rows = std::min(wanted, case_.tokens - past);
      std::vector<BatchSequence> sequences;
      const std::int32_t second_rows = beside ? past - second_past : 0;
      if (second_rows > 0) sequences.push_back({0, second_rows, second_past, second_pages});
      sequences.push_back({second_rows, rows, past, first_pages});
      const Floats result = RunBatch(sequences, *cache);
      std::copy(result.begin() + static_cast<std::ptrdiff_t>(Size(second_rows) * OutWidth()),
                result.end(), out.begin() + static_cast<std::ptrdiff_t>(Size(past) * OutWidth()));
      second_past += second_rows;
      past += rows;
    }
    return out;
  }

  /// The result of the last token, where the keys of the first `spoilt` tokens are no numbers.
  Floats RunSpoilt(std::int32_t spoilt) {
    for (std::int32_t token = 0; token < spoilt; ++token) {
      const std::size_t key = static_cast<std::size_t>(Head(token, case_.heads) - qkv_.data());
      qkv_[key] = std::numeric_limits<float>::quiet_NaN();
    }
    const Floats all = Run({case_.tokens});
    return {all.end() - static_cast<std::ptrdiff_t>(OutWidth()), all.end()};
  }

  /// By definition, in double.
  std::vector<double> Expect() const {
    std::vector<double> out;
    const std::int32_t group = case_.heads / case_.kv_heads;
    for (std::int32_t t = 0; t < case_.tokens; ++t) {
      for (std::int32_t head = 0; head < case_.heads; ++head) {
        const std::int32_t kv_head = head / group;
        const std::vector<double> q = Rotated(t, head, q_norm_, false);
        const std::int32_t begin = case_.window > 0 ? std::max(0, t - case_.window + 1) : 0;
        std::vector<double> sums(Size(case_.head_dim));
        double total = 0;
        for (std::int32_t s = begin; s <= t; ++s) {
          const std::vector<double> k = Rotated(s, case_.heads + kv_head, k_norm_, case_.half);
          double score = 0;
          for (std::size_t i = 0; i < q.size(); ++i) score += q[i] * k[i];
          score *= spec_.scale;
          if (case_.softcap > 0) score = case_.softcap * std::tanh(score / case_.softcap);
          const double weight = std::exp(score);
          const float* v = Head(s, case_.heads + case_.kv_heads + kv_head);
          for (std::size_t i = 0; i < q.size(); ++i) sums[i] += weight * Stored(v[i], case_.half);
          total += weight;
        }
        for (const double sum : sums) out.push_back(sum / total);
      }
    }
    return out;
  }

 private:
  std::size_t Width() const {
    return Size(case_.heads + 2 * case_.kv_heads) * Size(case_.head_dim);
  }
  std::size_t OutWidth() const { return Size(case_.heads) * Size(case_.head_dim); }

  const float* Head(std::int32_t token, std::int32_t head) const {
    return qkv_.data() + Size(token) * Width() + Size(head) * Size(case_.head_dim);
  }

  static double Stored(double value, bool half) {
    if (!half) return value;
    return mlc::Float16ToFloat(mlc::FloatToFloat16(static_cast<float>(value)));
  }

  std::vector<double> Rotated(std::int32_t token, std::int32_t head, const Floats& norm,
                              bool half) const {
    const float* x = Head(token, head);
    std::vector<double> values(x, x + case_.head_dim);
    if (case_.norms) {
      double squares = 0;
      for (const double value : values) squares += value * value;
      const double scale = 1 / std::sqrt(squares / case_.head_dim + spec_.norm_epsilon);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] *= scale * norm[i];
    }
    const std::size_t pairs = frequencies_.size();
    for (std::size_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<float>(token) * frequencies_[i];
      const double cosine = 1.5 * std::cos(angle), sine = 1.5 * std::sin(angle);
      const double a = values[i], b = values[pairs + i];
      values[i] = a * cosine - b * sine;
      values[pairs + i] = b * cosine + a * sine;
    }
    for (double& value : values) value = Stored(value, half);
    return values;
  }

  /// Fills a cache with NaN: what other sequences left there must not matter.
  static void Poison(mlc::KvCache& cache) {
    auto& memory = static_cast<mlc::cpu::CpuKvCache&>(cache);
    auto* bytes = static_cast<unsigned char*>(memory.Keys(0, 0));
    const mlc::KvLayout& layout = cache.layout();
    std::fill_n(bytes, layout.bytes_per_page() * Size(layout.pages),
                static_cast<unsigned char>(0xff));
  }

  Floats RunBatch(const std::vector<BatchSequence>& sequences, mlc::KvCache& cache) {
    Floats rows;
    for (const BatchSequence& sequence : sequences) {
      const float* first = Head(sequence.past, 0);
      rows.insert(rows.end(), first, first + Size(sequence.rows) * Width());
    }
    const std::vector<std::int32_t> tokens(rows.size() / Width());
    const mlc::Batch batch{tokens, sequences, {}};
    const auto qkv = backend_->LoadVector(rows);
    const auto attended = backend_->Allocate(tokens.size() * OutWidth());
    backend_->Begin(batch, cache);
    backend_->Attend(spec_, *qkv, attended.get());
    Floats out(tokens.size() * OutWidth());
    backend_->Read(*attended, 0, out);
    return out;
  }

  const Case case_;
  const std::shared_ptr<mlc::Backend> backend_;
  Floats qkv_, frequencies_, q_norm_, k_norm_;
  std::unique_ptr<mlc::Buffer> frequency_buffer_, q_norm_buffer_, k_norm_buffer_;
  AttentionSpec spec_;
};

/// Runs `body` so that every ParallelFor in it stays on this thread.
template <typename Body>
void OnOneThread(Body body) {
  mlc::ThreadPool pool(2);
  std::atomic<bool> first = true;
  pool.ParallelFor(2, 1, [&](std::int64_t, std::int64_t) {
    if (first.exchange(false)) body();
  });
}

void TestCase(const Case& shape) {
  std::fprintf(stderr, "%s\n", shape.name.data());
  Attention attention(shape);
  const Floats whole = attention.Run({shape.tokens});

  const std::vector<double> expected = attention.Expect();
  // Float32 sums; a rounding of a key or value to float16 may fall the other way.
  const double tolerance = shape.half ? 3e-3 : 3e-5;
  CHECK(whole.size() == expected.size());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    CHECK(std::abs(whole[i] - expected[i]) <= tolerance);
  }

  CHECK(attention.Run({1}) == whole);
  CHECK(attention.Run({33, 1, 7}) == whole);
  CHECK(attention.Run({5, 31, 2, 64}, true) == whole);
  Floats serial;
  OnOneThread([&] { serial = attention.Run({40, 3}); });
  CHECK(serial == whole);
}

/// Whatever part of the keys a split of them is: nothing hides what is no number.
void TestNotANumber() {
  const Case shape{.name = "not a number",
                   .heads = 2,
                   .kv_heads = 1,
                   .head_dim = 16,
                   .rotary_dim = 16,
                   .tokens = 600};
  for (const std::int32_t spoilt : {1, 255, 256, 512}) {
    for (const float value : Attention(shape).RunSpoilt(spoilt)) CHECK(std::isnan(value));
  }
}

}  // namespace

int main() {
  SetVariable("MLC_LLM_NUM_THREADS", "4");
  for (const mlc::cpu::Isa isa : mlc::cpu::AvailableIsas()) {
    SetVariable("MLC_LLM_CPU_ISA", std::string(mlc::cpu::Name(isa)).c_str());
    for (const Case& shape : kCases) TestCase(shape);
    TestNotANumber();
  }
}
