#pragma once

#include <cstdint>
#include <vector>

#include "runtime/matrix.h"

namespace mlc::cpu {

struct MatMulKernels;

/// Products of rows of float32 with a weight matrix, on all threads of ThreadPool::Global().
///
/// For a quantized matrix each row of x is quantized too, to int8 in groups of 32;
/// products within a group are exact, sums over groups float32. A row of the result depends on that
/// row of x alone: it has the same bits whatever rows are beside it and on any number of threads.
/// A NaN or an infinity in x makes its row of the result NaN or infinite.
class MatMul {
 public:
  /// Throws std::invalid_argument when MLC_LLM_CPU_ISA names what this CPU does not have.
  MatMul();

  /// out[rows, m.rows] = x[rows, m.cols] * m^T + bias; `bias` [m.rows] may be null. One call at a
  /// time: calls share the memory that x is quantized into.
  void operator()(const MatrixView& m, const float* bias, const float* x, std::int64_t rows,
                  float* out);

 private:
  const MatMulKernels* kernels_;
  std::vector<std::int8_t> values_;
  std::vector<float> scales_;
  std::vector<std::int32_t> offsets_;
};

/// out[m.cols] = row `row` of `m` times `scale`: an embedding.
void ReadRow(const MatrixView& m, std::int64_t row, float scale, float* out);

}  // namespace mlc::cpu
