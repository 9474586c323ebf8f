#include "cpu/backend.h"

#include <algorithm>

#include "cpu/attention.h"
#include "cpu/kernels/row_kernels.h"
#include "cpu/matmul.h"
#include "cpu/memory.h"
#include "cpu/rotary.h"
#include "runtime/thread_pool.h"

namespace mlc::cpu {
namespace {

const float* Data(const Buffer& buffer) { return static_cast<const CpuBuffer&>(buffer).data(); }
const float* Data(const Buffer* buffer) { return buffer == nullptr ? nullptr : Data(*buffer); }
float* Data(Buffer& buffer) { return static_cast<CpuBuffer&>(buffer).data(); }

const MatrixView& View(const Matrix& matrix) { return static_cast<const CpuMatrix&>(matrix).view; }

// Below this many values, waking a worker costs more than it brings.
constexpr std::int64_t kMinValuesPerChunk = 4096;

/// Calls `body` with each of `rows` row numbers; `width` says how much work a row is.
template <typename Body>
void ForEachRow(std::int64_t rows, std::int64_t width, Body body) {
  ThreadPool::Global().ParallelFor(rows, kMinValuesPerChunk / width + 1,
                                   [&](std::int64_t begin, std::int64_t end) {
                                     for (std::int64_t row = begin; row < end; ++row) body(row);
                                   });
}

class CpuBackend final : public Backend {
 public:
  std::unique_ptr<Matrix> LoadMatrix(const MatrixView& view, bool) override {
    return std::make_unique<CpuMatrix>(view);
  }

  std::unique_ptr<Buffer> LoadVector(std::span<const float> values) override {
    auto buffer = std::make_unique<CpuBuffer>(values.size());
    std::copy(values.begin(), values.end(), buffer->data());
    return buffer;
  }

  std::unique_ptr<Buffer> Allocate(std::size_t floats) override {
    return std::make_unique<CpuBuffer>(floats);
  }

  std::unique_ptr<KvCache> MakeKvCache(const KvLayout& layout) override {
    return std::make_unique<CpuKvCache>(layout);
  }

  void Begin(const Batch& batch, KvCache& cache) override {
    batch_ = &batch;
    cache_ = static_cast<CpuKvCache*>(&cache);
    rotary_.Begin(batch);
  }

  void Run(std::int32_t, const std::function<void()>& operators) override { operators(); }

  void Embed(const Matrix& table, float scale, Buffer& out) override {
    const MatrixView& view = View(table);
    ForEachRow(batch_->rows(), view.cols, [&, to = Data(out)](std::int64_t row) {
      ReadRow(view, batch_->tokens[static_cast<std::size_t>(row)], scale, to + row * view.cols);
    });
  }

  void Project(const NormSpec& norm, const Matrix& matrix, const Buffer* bias, const Buffer& x,
               std::int32_t rows, Buffer& out) override {
    multiply_(View(matrix), Data(bias), Normed(norm, Data(x), rows, View(matrix).cols), rows,
              Data(out));
  }

  void Attend(const AttentionSpec& spec, Buffer& qkv, Buffer* out) override {
    rotary_.Rotate(spec, Data(qkv), *cache_);
    if (out != nullptr) attention_.Attend(spec, *batch_, Data(qkv), *cache_, Data(*out));
  }

  void AddProject(const Matrix& matrix, const NormSpec* post_norm, const Buffer& x,
                  std::int32_t rows, Buffer& residual) override {
    const MatrixView& view = View(matrix);
    const std::int64_t width = view.rows;
    float* const delta = product_.Get(rows * width);
    multiply_(view, nullptr, Data(x), rows, delta);
    ForEachRow(rows, width, [&, to = Data(residual)](std::int64_t row) {
      float* const change = delta + row * width;
      if (post_norm != nullptr) {
        kernels_.norm(change, Data(*post_norm->weight), post_norm->epsilon, width, change);
      }
      kernels_.add(change, width, to + row * width);
    });
  }

  void Gate(const NormSpec& norm, const Matrix& matrix, Activation activation, const Buffer& x,
            std::int32_t rows, Buffer& out) override {
    const MatrixView& view = View(matrix);
    const std::int64_t width = view.rows / 2;
    const float* const normed = Normed(norm, Data(x), rows, view.cols);
    float* const gate_up = product_.Get(rows * view.rows);
    multiply_(view, nullptr, normed, rows, gate_up);
    const auto apply = activation == Activation::kSilu ? kernels_.silu : kernels_.gelu_tanh;
    ForEachRow(rows, 2 * width, [&, to = Data(out)](std::int64_t row) {
      const float* gate = gate_up + row * 2 * width;
      apply(gate, gate + width, width, to + row * width);
    });
  }

  void GatherRows(const Buffer& x, std::int32_t width, Buffer& out) override {
    float* to = Data(out);
    for (const std::int32_t row : batch_->logit_rows) {
      to = std::copy_n(Data(x) + std::int64_t{row} * width, width, to);
    }
  }

  void Logits(const NormSpec& norm, const Matrix& matrix, float cap, const Buffer& x,
              std::int32_t first_row, std::int32_t rows, Buffer& out) override {
    const MatrixView& view = View(matrix);
    multiply_(view, nullptr, Normed(norm, Data(x) + first_row * view.cols, rows, view.cols), rows,
              Data(out));
    if (cap > 0) Cap(cap, rows * view.rows, Data(out));
  }

  void Read(const Buffer& x, std::size_t first, std::span<float> out) override {
    std::copy_n(Data(x) + first, out.size(), out.begin());
  }

 private:
  /// Memory that grows, for what lasts no longer than one operator.
  class Scratch {
   public:
    float* Get(std::int64_t floats) {
      if (floats > size_) {
        memory_.reset();
        memory_ = AllocateZeros(static_cast<std::size_t>(floats) * sizeof(float));
        size_ = floats;
      }
      return memory_.get();
    }

   private:
    Floats memory_;
    std::int64_t size_ = 0;
  };

  const float* Normed(const NormSpec& norm, const float* x, std::int64_t rows, std::int64_t width) {
    float* const out = normed_.Get(rows * width);
    ForEachRow(rows, width, [&](std::int64_t row) {
      kernels_.norm(x + row * width, Data(*norm.weight), norm.epsilon, width, out + row * width);
    });
    return out;
  }

  void Cap(float cap, std::int64_t count, float* x) {
    constexpr std::int64_t kStep = 1024;
    ForEachRow((count + kStep - 1) / kStep, kStep, [&](std::int64_t i) {
      kernels_.cap(cap, std::min(kStep, count - i * kStep), x + i * kStep);
    });
  }

  const RowKernels& kernels_ = ChooseRowKernels();
  cpu::MatMul multiply_;
  Rotary rotary_{kernels_};
  Attention attention_{kernels_};
  Scratch normed_, product_;
  const Batch* batch_ = nullptr;
  CpuKvCache* cache_ = nullptr;
};

}  // namespace

std::shared_ptr<Backend> MakeBackend() { return std::make_shared<CpuBackend>(); }

}  // namespace mlc::cpu
