#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/backend.h"
#include "vulkan/ranges.h"
#include "vulkan/recorder.h"
#include "vulkan/step.h"
#include "vulkan/upload.h"

namespace mlc::vulkan {

/// Keys and values on a device, of each layer a buffer: [page, kv_head, token, padded_dim].
class DeviceKvCache final : public mlc::KvCache {
 public:
  DeviceKvCache(std::shared_ptr<Device> device, const KvLayout& layout);

  std::uint32_t padded_dim() const { return static_cast<std::uint32_t>(layout().padded_dim()); }
  const Slice& Keys(std::int32_t layer) const { return parts_[Index(layer)].slice(); }
  const Slice& Values(std::int32_t layer) const { return parts_[Index(layer) + 1].slice(); }

  /// No two caches have the same, ever.
  std::int32_t id() const { return id_; }

 private:
  static std::size_t Index(std::int32_t layer) { return 2 * static_cast<std::size_t>(layer); }

  const std::shared_ptr<Device> device_;  // a cache may outlive its model
  const std::int32_t id_;
  std::vector<Allocation> parts_;
};

/// Attention over the paged cache.
class Attention {
 public:
  explicit Attention(Device& device) : device_(device) {}

  /// Records Backend::Attend for the rows of `ranges`; each range of a prompt is one sequence.
  /// Besides the rows, a recording depends on the step's room.
  /// Where a shader may have few buffers, other rows take the kernels of prompts too.
  /// `qkv` and `out` hold all rows of the step; `out` may be null.
  void Record(Recorder& recorder, const AttentionSpec& spec, const DeviceKvCache& cache,
              const Step& step, std::span<const RowRange> ranges, const Slice& qkv,
              const Slice* out, const Count& count) const;

 private:
  void RecordOnes(Recorder& recorder, const AttentionSpec& spec, const DeviceKvCache& cache,
                  const Step& step, const RowRange& range, const Slice& qkv,
                  const Slice& out) const;
  void RecordPrompt(Recorder& recorder, const AttentionSpec& spec, const DeviceKvCache& cache,
                    const Step& step, const RowRange& range, const Slice& qkv, const Slice* out,
                    const Count& count) const;

  Device& device_;
};

}  // namespace mlc::vulkan
