#pragma once

#include <cstddef>
#include <memory>

#include "runtime/backend.h"

namespace mlc::cpu {

struct FreeMemory {
  void operator()(void* memory) const;
};

/// Aligned to a cache line.
using Floats = std::unique_ptr<float[], FreeMemory>;

/// Memory that holds zeros. The system provides it page by page, on first use.
/// Throws std::runtime_error, saying how much it was, when there is none.
Floats AllocateZeros(std::size_t bytes);

class CpuBuffer final : public Buffer {
 public:
  explicit CpuBuffer(std::size_t size) : floats_(AllocateZeros(size * sizeof(float))) {}

  float* data() { return floats_.get(); }
  const float* data() const { return floats_.get(); }

 private:
  Floats floats_;
};

struct CpuMatrix final : Matrix {
  explicit CpuMatrix(const MatrixView& matrix) : view(matrix) {}

  MatrixView view;
};

/// Of each layer the keys, then the values: [page, kv_head, ...]. A head's keys in a page are
/// [dim, token], so that the scores of a page's tokens are computed side by side; its values are
/// [token, padded_dim].
class CpuKvCache final : public KvCache {
 public:
  explicit CpuKvCache(const KvLayout& layout);

  std::int32_t padded_dim() const { return layout().padded_dim(); }
  std::size_t page_stride() const { return page_stride_; }  ///< elements, between pages

  void* Keys(std::int32_t layer, std::int32_t kv_head) const { return At(2 * layer, kv_head); }
  void* Values(std::int32_t layer, std::int32_t kv_head) const {
    return At(2 * layer + 1, kv_head);
  }

 private:
  void* At(std::int32_t part, std::int32_t kv_head) const;

  std::size_t head_stride_, page_stride_;
  Floats memory_;
};

}  // namespace mlc::cpu
