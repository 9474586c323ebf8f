#include "cpu/matmul.h"

#include <algorithm>

#include "cpu/kernels/matmul_kernels.h"
#include "cpu/widen.h"
#include "runtime/thread_pool.h"

namespace mlc::cpu {
namespace {

MultiplyFunction ChooseMultiply(const MatMulKernels& kernels, Encoding encoding) {
  switch (encoding) {
    case Encoding::kFloat32:
      return kernels.float32;
    case Encoding::kFloat16:
      return kernels.float16;
    case Encoding::kQ4Float16:
      return kernels.q4_float16;
    case Encoding::kQ4Float32:
      break;
  }
  return kernels.q4_float32;
}

// Below this, waking a worker costs more than it brings: some microseconds of one thread's work.
constexpr std::int64_t kMinBytesPerChunk = 32 * 1024;
constexpr std::int64_t kMinValuesPerChunk = 16 * 1024;  // of x, when it is quantized

std::int64_t BytesPerRow(const MatrixView& m) {
  switch (m.encoding) {
    case Encoding::kFloat32:
      return m.cols * 4;
    case Encoding::kFloat16:
      return m.cols * 2;
    case Encoding::kQ4Float16:
      return m.groups() * 18;
    case Encoding::kQ4Float32:
      break;
  }
  return m.groups() * 20;
}

}  // namespace

MatMul::MatMul() : kernels_(&ChooseMatMulKernels()) {}

void MatMul::operator()(const MatrixView& m, const float* bias, const float* x, std::int64_t rows,
                        float* out) {
  Product product = {.values = m.values,
                     .scales = m.scales,
                     .rows = m.rows,
                     .cols = m.cols,
                     .groups = m.groups(),
                     .bias = bias,
                     .x = x,
                     .x_rows = rows,
                     .quantized = {},
                     .out = out};
  ThreadPool& pool = ThreadPool::Global();
  if (m.quantized()) {
    const std::int64_t block = kernels_->block_groups;
    const std::int64_t groups = (m.groups() + block - 1) / block * block;
    const auto count = static_cast<std::size_t>(rows * groups);
    if (scales_.size() < count) {
      values_.resize(count * 32);
      scales_.resize(count);
      offsets_.resize(count);
    }
    product.quantized = {groups, values_.data(), scales_.data(), offsets_.data()};
    pool.ParallelFor(rows, kMinValuesPerChunk / m.cols + 1,
                     [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t row = begin; row < end; ++row) {
                         kernels_->quantize(product, row);
                       }
                     });
  }
  const MultiplyFunction multiply = ChooseMultiply(*kernels_, m.encoding);
  const std::int64_t work = BytesPerRow(m) * kPanel * std::max<std::int64_t>(rows / 4, 1);
  pool.ParallelFor((m.rows + kPanel - 1) / kPanel, kMinBytesPerChunk / work + 1,
                   [&](std::int64_t begin, std::int64_t end) {
                     multiply(product, begin * kPanel, std::min(end * kPanel, m.rows));
                   });
}

void ReadRow(const MatrixView& m, std::int64_t row, float scale, float* out) {
  const auto* halves = static_cast<const std::uint16_t*>(m.values) + row * m.cols;
  const auto* floats = static_cast<const float*>(m.values) + row * m.cols;
  const auto* words = static_cast<const std::uint32_t*>(m.values) + row * m.groups() * 4;
  const auto group_scale = [&](std::int64_t group) {
    const std::int64_t index = row * m.groups() + group;
    return m.encoding == Encoding::kQ4Float16
               ? Widen(static_cast<const std::uint16_t*>(m.scales)[index])
               : static_cast<const float*>(m.scales)[index];
  };
  for (std::int64_t k = 0; k < m.cols; ++k) {
    if (m.encoding == Encoding::kFloat32) {
      out[k] = floats[k] * scale;
    } else if (m.encoding == Encoding::kFloat16) {
      out[k] = Widen(halves[k]) * scale;
    } else {
      const auto nibble = static_cast<int>(words[k / 8] >> 4 * (k % 8) & 0xf);
      out[k] = static_cast<float>(nibble - 7) * group_scale(k / 32) * scale;
    }
  }
}

}  // namespace mlc::cpu
