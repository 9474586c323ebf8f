#pragma once

#include <vector>

#include "cpu/kernels/row_kernels.h"
#include "cpu/memory.h"

namespace mlc::cpu {

/// Attention over the paged cache, on all threads.
///
/// The queries of a sequence and a KV head are cut into tiles, and the tokens before them into
/// splits of a fixed size, always from token 0. Each split's softmax is computed by itself and
/// merged in order: so the bits do not depend on how tiles and splits are shared out.
class Attention {
 public:
  explicit Attention(const RowKernels& kernels) : kernels_(kernels) {}

  /// Backend::Attend
  void Attend(const AttentionSpec& spec, const Batch& batch, const float* qkv,
              const CpuKvCache& cache, float* out);

 private:
  /// Some query rows of one KV head of one sequence: row r is head r % group of token r / group.
  struct Tile {
    const BatchSequence* sequence;
    std::int32_t kv_head;
    std::int32_t first, rows;
    std::int32_t first_split, end_split;
  };
  struct Step;

  void CutTiles(const Step& step);
  void AttendSplit(const Step& step, const Tile& tile, std::int32_t split,
                   const AttentionState& state) const;
  void AttendWhole(const Step& step, const Tile& tile) const;
  void AttendInWaves(const Step& step, std::int64_t wave);
  void Finish(const Step& step, const Tile& tile, const AttentionState& state) const;

  const RowKernels& kernels_;
  std::vector<Tile> tiles_;
  std::vector<float> scratch_;
};

}  // namespace mlc::cpu
