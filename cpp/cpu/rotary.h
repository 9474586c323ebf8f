#pragma once

#include <vector>

#include "cpu/kernels/row_kernels.h"
#include "cpu/memory.h"

namespace mlc::cpu {

/// Position embeddings, and the way of keys and values into the cache.
class Rotary {
 public:
  explicit Rotary(const RowKernels& kernels) : kernels_(kernels) {}

  /// Starts a step, in which each pair of frequencies and scale makes one table of angles.
  void Begin(const Batch& batch);

  /// The first half of Backend::Attend.
  void Rotate(const AttentionSpec& spec, float* qkv, const CpuKvCache& cache);

 private:
  /// Where one row of the batch belongs.
  struct Row {
    std::int32_t position;
    std::int32_t page;
  };
  struct Table {
    const Buffer* inverse_frequencies;
    float scale;
    std::vector<float> values;  // [rows, rotary_dim]: of a row its cosines, then its sines
  };

  const std::vector<float>& FindTable(const AttentionSpec& spec);

  const RowKernels& kernels_;
  std::vector<Row> rows_;
  std::vector<Table> tables_;
};

}  // namespace mlc::cpu
