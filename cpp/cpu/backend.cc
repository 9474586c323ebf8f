#include "cpu/backend.h"

#include <algorithm>

#include "cpu/attention.h"
#include "cpu/matmul.h"
#include "cpu/memory.h"
#include "cpu/rotary.h"
#include "cpu/row_kernels.h"
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
  std::unique_ptr<Matrix> LoadMatrix(const MatrixView& view) override {
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

  void Begin(const Batch& batch) override {
    batch_ = &batch;
    rotary_.Begin(batch);
  }

  void Embed(const Matrix& table, float scale, Buffer& out) override {
    const MatrixView& view = View(table);
    ForEachRow(batch_->rows(), view.cols, [&, to = Data(out)](std::int64_t row) {
      ReadRow(view, batch_->tokens[static_cast<std::size_t>(row)], scale, to + row * view.cols);
    });
  }

  void Norm(const Buffer& x, const Buffer& weight, float epsilon, std::int32_t rows,
            std::int32_t width, Buffer& out) override {
    ForEachRow(rows, width, [&, from = Data(x), to = Data(out)](std::int64_t row) {
      kernels_.norm(from + row * width, Data(weight), epsilon, width, to + row * width);
    });
  }

  void AddNorm(const Buffer& delta, const Buffer* post_weight, const Buffer& weight, float epsilon,
               std::int32_t rows, std::int32_t width, Buffer& x, Buffer& out) override {
    ForEachRow(rows, width, [&](std::int64_t row) {
      const float* change = Data(delta) + row * width;
      float* const sum = Data(x) + row * width;
      float* const normed = Data(out) + row * width;
      if (post_weight != nullptr) {
        kernels_.norm(change, Data(*post_weight), epsilon, width, normed);
        change = normed;
      }
      kernels_.add(change, width, sum);
      kernels_.norm(sum, Data(weight), epsilon, width, normed);
    });
  }

  void MatMul(const Matrix& matrix, const Buffer* bias, const Buffer& x, std::int32_t rows,
              Buffer& out) override {
    multiply_(View(matrix), Data(bias), Data(x), rows, Data(out));
  }

  void Rotate(const AttentionSpec& spec, Buffer& qkv, KvCache& cache) override {
    rotary_.Rotate(spec, Data(qkv), static_cast<CpuKvCache&>(cache));
  }

  void Attend(const AttentionSpec& spec, const Buffer& qkv, const KvCache& cache,
              Buffer& out) override {
    attention_.Attend(spec, *batch_, Data(qkv), static_cast<const CpuKvCache&>(cache), Data(out));
  }

  void Activate(Activation activation, const Buffer& gate_up, std::int32_t rows, std::int32_t width,
                Buffer& out) override {
    const auto apply = activation == Activation::kSilu ? kernels_.silu : kernels_.gelu_tanh;
    ForEachRow(rows, 2 * width, [&, to = Data(out)](std::int64_t row) {
      const float* gate = Data(gate_up) + row * 2 * width;
      apply(gate, gate + width, width, to + row * width);
    });
  }

  void GatherRows(const Buffer& x, std::span<const std::int32_t> rows, std::int32_t width,
                  Buffer& out) override {
    float* to = Data(out);
    for (const std::int32_t row : rows) {
      to = std::copy_n(Data(x) + std::int64_t{row} * width, width, to);
    }
  }

  void Cap(float cap, std::size_t count, Buffer& x) override {
    constexpr std::int64_t kStep = 1024;
    const auto values = static_cast<std::int64_t>(count);
    ForEachRow((values + kStep - 1) / kStep, kStep, [&](std::int64_t i) {
      kernels_.cap(cap, std::min(kStep, values - i * kStep), Data(x) + i * kStep);
    });
  }

  void Read(const Buffer& x, std::span<float> out) override {
    std::copy_n(Data(x), out.size(), out.begin());
  }

 private:
  const RowKernels& kernels_ = ChooseRowKernels();
  cpu::MatMul multiply_;
  Rotary rotary_{kernels_};
  Attention attention_{kernels_};
  const Batch* batch_ = nullptr;
};

}  // namespace

std::shared_ptr<Backend> MakeBackend() { return std::make_shared<CpuBackend>(); }

}  // namespace mlc::cpu
