#pragma once

#include <cstdint>
#include <vector>

#include "runtime/backend.h"
#include "vulkan/device.h"
#include "vulkan/ranges.h"

namespace mlc::vulkan {

/// Memory of the model's state on a device: a Backend's Buffer.
struct DeviceBuffer final : mlc::Buffer {
  explicit DeviceBuffer(Allocation allocation) : memory(std::move(allocation)) {}

  Allocation memory;
};

inline const Slice& SliceOf(const mlc::Buffer& buffer) {
  return static_cast<const DeviceBuffer&>(buffer).memory.slice();
}

/// What differs between two runs of a recording, where the device reads it (shaders/step.glsl).
class Step {
 public:
  explicit Step(Device& device);

  /// Takes in a batch. Returns true when the memory is another than before.
  bool Write(const Batch& batch);

  const Slice& slice() const { return memory_.slice(); }
  std::uint32_t rows() const { return rows_; }
  bool adjusts() const { return adjusts_; }  ///< whether a query changes logits

  /// How many pages each sequence has room for, where the device reads them: a power of two.
  std::uint32_t room() const { return room_; }

  /// The word where the pages of a sequence begin.
  std::uint32_t first_page(std::uint32_t sequence) const;

  /// The rows as matrix kernels take them: sequences of one kind that follow one another are one
  /// range. More than FewRows are a prompt.
  const std::vector<RowRange>& ranges() const { return ranges_; }

  /// The rows as attention takes them: two are a prompt, and each prompt is a range.
  const std::vector<RowRange>& sequences() const { return sequences_; }

 private:
  Device& device_;
  const std::int32_t few_rows_;
  Allocation memory_;
  std::uint32_t rows_ = 0;
  std::uint32_t room_ = 0;
  bool adjusts_ = false;
  std::vector<RowRange> ranges_, sequences_;
};

}  // namespace mlc::vulkan
