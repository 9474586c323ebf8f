#include "cpu/rotary.h"

#include <cmath>
#include <span>

#include "runtime/float16.h"
#include "runtime/thread_pool.h"

namespace mlc::cpu {
namespace {

/// Copies `values` to every `stride`th element from `offset` of `base`.
void Store(std::span<const float> values, void* base, bool half, std::size_t offset,
           std::size_t stride) {
  if (half) {
    auto* out = static_cast<std::uint16_t*>(base) + offset;
    for (std::size_t i = 0; i < values.size(); ++i) out[i * stride] = FloatToFloat16(values[i]);
  } else {
    float* out = static_cast<float*>(base) + offset;
    for (std::size_t i = 0; i < values.size(); ++i) out[i * stride] = values[i];
  }
}

}  // namespace

void Rotary::Begin(const Batch& batch) {
  tables_.clear();
  rows_.clear();
  for (const BatchSequence& sequence : batch.sequences) {
    for (std::int32_t i = 0; i < sequence.rows; ++i) {
      const std::int32_t position = sequence.past + i;
      rows_.push_back({position, sequence.pages[static_cast<std::size_t>(position / kPageTokens)]});
    }
  }
}

const std::vector<float>& Rotary::FindTable(const AttentionSpec& spec) {
  for (const Table& table : tables_) {
    if (table.inverse_frequencies == spec.inverse_frequencies && table.scale == spec.rotary_scale) {
      return table.values;
    }
  }
  const auto half = static_cast<std::size_t>(spec.rotary_dim / 2);
  const float* frequencies = static_cast<const CpuBuffer*>(spec.inverse_frequencies)->data();
  std::vector<float> values(rows_.size() * 2 * half);
  ThreadPool::Global().ParallelFor(
      static_cast<std::int64_t>(rows_.size()), 8, [&](std::int64_t begin, std::int64_t end) {
        for (auto row = static_cast<std::size_t>(begin); row < static_cast<std::size_t>(end);
             ++row) {
          float* out = values.data() + row * 2 * half;
          for (std::size_t i = 0; i < half; ++i) {
            const float angle = static_cast<float>(rows_[row].position) * frequencies[i];
            out[i] = spec.rotary_scale * std::cos(angle);
            out[half + i] = spec.rotary_scale * std::sin(angle);
          }
        }
      });
  tables_.push_back({spec.inverse_frequencies, spec.rotary_scale, std::move(values)});
  return tables_.back().values;
}

void Rotary::Rotate(const AttentionSpec& spec, float* qkv, const CpuKvCache& cache) {
  const std::vector<float>& table = FindTable(spec);
  const auto dim = static_cast<std::size_t>(spec.head_dim);
  const std::int32_t rotating = spec.heads + spec.kv_heads;
  const auto width = static_cast<std::size_t>(rotating + spec.kv_heads) * dim;
  const auto vector = [](const Buffer* buffer) {
    return buffer == nullptr ? nullptr : static_cast<const CpuBuffer*>(buffer)->data();
  };
  const float* const q_norm = vector(spec.q_norm);
  const float* const k_norm = vector(spec.k_norm);
  const bool half = cache.layout().half;

  const auto rotate_row = [&](std::size_t index) {
    const Row& row = rows_[index];
    const float* cosines = table.data() + index * static_cast<std::size_t>(spec.rotary_dim);
    const float* sines = cosines + spec.rotary_dim / 2;
    float* head = qkv + index * width;
    for (std::int32_t i = 0; i < rotating; ++i, head += dim) {
      const float* norm = i < spec.heads ? q_norm : k_norm;
      if (norm != nullptr) kernels_.norm(head, norm, spec.norm_epsilon, spec.head_dim, head);
      kernels_.rotate(cosines, sines, spec.rotary_dim / 2, head);
    }
    const float* keys = qkv + index * width + static_cast<std::size_t>(spec.heads) * dim;
    const float* values = keys + static_cast<std::size_t>(spec.kv_heads) * dim;
    const auto token = static_cast<std::size_t>(row.position % kPageTokens);
    const std::size_t page = static_cast<std::size_t>(row.page) * cache.page_stride();
    const auto padded_dim = static_cast<std::size_t>(cache.padded_dim());
    for (std::int32_t i = 0; i < spec.kv_heads; ++i, keys += dim, values += dim) {
      Store({keys, dim}, cache.Keys(spec.layer, i), half, page + token, kPageTokens);
      Store({values, dim}, cache.Values(spec.layer, i), half, page + token * padded_dim, 1);
    }
  };
  ThreadPool::Global().ParallelFor(static_cast<std::int64_t>(rows_.size()), 4,
                                   [&](std::int64_t begin, std::int64_t end) {
                                     for (std::int64_t i = begin; i < end; ++i) {
                                       rotate_row(static_cast<std::size_t>(i));
                                     }
                                   });
}

}  // namespace mlc::cpu
