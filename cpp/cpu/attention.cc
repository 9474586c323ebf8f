#include "cpu/attention.h"

#include <algorithm>
#include <limits>

#include "runtime/thread_pool.h"

namespace mlc::cpu {
namespace {

constexpr std::int32_t kSplitTokens = 256;
static_assert(kTileTokens == kPageTokens && kTileMostDim == kMostHeadDim);
static_assert(kSplitTokens % kPageTokens == 0);

constexpr std::size_t StateSize(std::int32_t padded_dim) {
  return static_cast<std::size_t>(kTileRows) * static_cast<std::size_t>(padded_dim + 2);
}

AttentionState ViewState(float* memory) {
  return {memory, memory + kTileRows, memory + 2 * kTileRows};
}

void Clear(std::int32_t rows, std::int32_t padded_dim, const AttentionState& state) {
  std::fill_n(state.max, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(state.sum, rows, 0.0f);
  std::fill_n(state.weighted, rows * padded_dim, 0.0f);
}

}  // namespace

/// What all tiles of a call have in common.
struct Attention::Step {
  const AttentionSpec& spec;
  const Batch& batch;
  const float* qkv;
  const CpuKvCache& cache;
  float* out;

  std::int32_t group() const { return spec.heads / spec.kv_heads; }
  std::int32_t padded_dim() const { return cache.padded_dim(); }

  /// First of the tokens that the token at `position` sees.
  std::int32_t VisibleBegin(std::int32_t position) const {
    return spec.window == 0 ? 0 : std::max(0, position - (spec.window - 1));
  }

  /// Offset of a tile's row in q, whose rows are `width` heads wide.
  std::size_t Offset(const Tile& tile, std::int32_t row, std::int32_t width) const {
    const std::int32_t index = tile.first + row;
    const auto token = static_cast<std::size_t>(tile.sequence->first_row + index / group());
    const auto head = static_cast<std::size_t>(tile.kv_head * group() + index % group());
    return (token * static_cast<std::size_t>(width) + head) *
           static_cast<std::size_t>(spec.head_dim);
  }
};

void Attention::CutTiles(const Step& step) {
  tiles_.clear();
  for (const BatchSequence& sequence : step.batch.sequences) {
    const std::int32_t rows = sequence.rows * step.group();
    for (std::int32_t first = 0; first < rows; first += kTileRows) {
      const std::int32_t count = std::min(kTileRows, rows - first);
      const std::int32_t begin = step.VisibleBegin(sequence.past + first / step.group());
      const std::int32_t last = sequence.past + (first + count - 1) / step.group();
      for (std::int32_t kv_head = 0; kv_head < step.spec.kv_heads; ++kv_head) {
        tiles_.push_back(
            {&sequence, kv_head, first, count, begin / kSplitTokens, last / kSplitTokens + 1});
      }
    }
  }
}

void Attention::AttendSplit(const Step& step, const Tile& tile, std::int32_t split,
                            const AttentionState& state) const {
  float q[kTileRows * kMostHeadDim];
  std::int32_t visible_begin[kTileRows], visible_end[kTileRows];
  const std::int32_t dim = step.spec.head_dim;
  const std::int32_t width = step.spec.heads + 2 * step.spec.kv_heads;
  for (std::int32_t r = 0; r < tile.rows; ++r) {
    const float* row = step.qkv + step.Offset(tile, r, width);
    for (std::int32_t i = 0; i < dim; ++i) q[r * dim + i] = row[i] * step.spec.scale;
    const std::int32_t position = tile.sequence->past + (tile.first + r) / step.group();
    visible_begin[r] = step.VisibleBegin(position);
    visible_end[r] = position + 1;
  }
  const std::int32_t begin = split * kSplitTokens;
  kernels_.attend({.rows = tile.rows,
                   .head_dim = dim,
                   .padded_dim = step.padded_dim(),
                   .softcap = step.spec.softcap,
                   .q = q,
                   .visible_begin = visible_begin,
                   .visible_end = visible_end,
                   .half = step.cache.layout().half,
                   .keys = step.cache.Keys(step.spec.layer, tile.kv_head),
                   .values = step.cache.Values(step.spec.layer, tile.kv_head),
                   .page_stride = step.cache.page_stride(),
                   .pages = tile.sequence->pages.data(),
                   .token_begin = begin,
                   .token_end = std::min(begin + kSplitTokens, visible_end[tile.rows - 1])},
                  state);
}

void Attention::Finish(const Step& step, const Tile& tile, const AttentionState& state) const {
  for (std::int32_t r = 0; r < tile.rows; ++r) {
    float* out = step.out + step.Offset(tile, r, step.spec.heads);
    const float* weighted = state.weighted + r * step.padded_dim();
    const float factor = 1 / state.sum[r];
    for (std::int32_t i = 0; i < step.spec.head_dim; ++i) out[i] = weighted[i] * factor;
  }
}

void Attention::AttendWhole(const Step& step, const Tile& tile) const {
  float memory[2][StateSize(kMostHeadDim)];
  const AttentionState state = ViewState(memory[0]), part = ViewState(memory[1]);
  Clear(tile.rows, step.padded_dim(), state);
  for (std::int32_t split = tile.first_split; split < tile.end_split; ++split) {
    AttendSplit(step, tile, split, part);
    kernels_.merge(tile.rows, step.padded_dim(), part, state);
  }
  Finish(step, tile, state);
}

/// `wave` splits of every tile at a time, each by itself, then merged.
void Attention::AttendInWaves(const Step& step, std::int64_t wave) {
  const auto count = static_cast<std::int64_t>(tiles_.size());
  const std::int32_t dim = step.padded_dim();
  const std::size_t size = StateSize(dim);
  scratch_.resize(static_cast<std::size_t>(count * (wave + 1)) * size);
  const auto state_of = [&](std::int64_t tile, std::int64_t slot) {
    return ViewState(scratch_.data() + static_cast<std::size_t>(tile * (wave + 1) + slot) * size);
  };
  std::int64_t splits = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const Tile& tile = tiles_[static_cast<std::size_t>(i)];
    splits = std::max<std::int64_t>(splits, tile.end_split - tile.first_split);
    Clear(tile.rows, dim, state_of(i, wave));
  }
  for (std::int64_t first = 0; first < splits; first += wave) {
    const auto split_of = [&](std::int64_t slot, const Tile& tile) {
      return static_cast<std::int32_t>(tile.first_split + first + slot);
    };
    ThreadPool::Global().ParallelFor(count * wave, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const Tile& tile = tiles_[static_cast<std::size_t>(i / wave)];
        const std::int32_t split = split_of(i % wave, tile);
        if (split < tile.end_split) AttendSplit(step, tile, split, state_of(i / wave, i % wave));
      }
    });
    for (std::int64_t i = 0; i < count; ++i) {
      const Tile& tile = tiles_[static_cast<std::size_t>(i)];
      for (std::int64_t slot = 0; slot < wave; ++slot) {
        if (split_of(slot, tile) >= tile.end_split) break;
        kernels_.merge(tile.rows, dim, state_of(i, slot), state_of(i, wave));
      }
    }
  }
  for (std::int64_t i = 0; i < count; ++i) {
    Finish(step, tiles_[static_cast<std::size_t>(i)], state_of(i, wave));
  }
}

void Attention::Attend(const AttentionSpec& spec, const Batch& batch, const float* qkv,
                       const CpuKvCache& cache, float* out) {
  const Step step{spec, batch, qkv, cache, out};
  CutTiles(step);
  ThreadPool& pool = ThreadPool::Global();
  const auto count = static_cast<std::int64_t>(tiles_.size());
  std::int32_t splits = 0;
  for (const Tile& tile : tiles_) splits = std::max(splits, tile.end_split - tile.first_split);

  const std::int64_t wanted = 4 * std::int64_t{pool.threads()};
  if (splits > 1 && count < wanted) {
    AttendInWaves(step, std::min<std::int64_t>(splits, wanted / count + 1));
    return;
  }
  pool.ParallelFor(count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      AttendWhole(step, tiles_[static_cast<std::size_t>(i)]);
  });
}

}  // namespace mlc::cpu
