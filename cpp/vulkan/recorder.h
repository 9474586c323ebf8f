#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "vulkan/device.h"

namespace mlc::vulkan {

/// What a recording makes the device do.
struct Work {
  std::uint32_t dispatches = 0;
  std::uint32_t barriers = 0;
};

/// Recorded commands, with what they need: run them as often as you like.
struct Recording {
  Commands commands;
  std::vector<Owned<VkDescriptorPool>> pools;
  std::vector<std::shared_ptr<const Allocation>> kept;
  Work work;
};

/// Is told, behind each part of an operator, which share of the longest submission that takes, at
/// most; and may begin another recording.
using Count = std::function<void(double share)>;

/// How many rows, in whole tiles of `tile`, are a part for Count where a row takes `row_share`.
inline std::uint32_t RowsOfPart(double row_share, std::uint32_t tile) {
  return tile * static_cast<std::uint32_t>(std::clamp(1 / (row_share * tile), 1.0, 1e6));
}

/// Workgroups of a dispatch.
struct Groups {
  std::uint32_t x = 1, y = 1, z = 1;
};

constexpr std::uint32_t CeilDivide(std::uint32_t a, std::uint32_t b) { return (a + b - 1) / b; }

/// The rows that a dispatch reads, adds to its results, and makes, for those that overlap; without
/// the last one none waits for it.
struct OverlapRows {
  Slice x = {}, addend = {}, out = {};
};

/// Row `row` of floats, `width` to a row.
inline Slice RowOf(const Slice& rows, std::uint32_t row, std::uint32_t width) {
  const VkDeviceSize bytes = VkDeviceSize{width} * sizeof(float);
  return rows.Part(row * bytes, bytes);
}

/// Memory for what lasts no longer than a few commands, shared by all recordings of one user: they
/// run one after another.
class ScratchPool {
 public:
  /// Uses that may be alive at the same time.
  enum Slot : std::size_t { kDelta, kMatMul, kAttention, kRanking, kSlots };

  /// Words of the board, from the last one down, that are a kernel's own. It leaves them at zero.
  static constexpr std::uint32_t kOwnWords = 1 << 14;

  /// Where `posts`, dispatches may overlap: that takes 4 MiB for what they post.
  explicit ScratchPool(bool posts) : posts_(posts) {}

  /// Whether a dispatch waited in vain for the one before it, since the last call. If so, what the
  /// recordings computed is wrong.
  bool TakeFailure();

 private:
  friend class Recorder;
  void EnsureBoard(Device& device);

  const bool posts_;
  std::array<std::shared_ptr<const Allocation>, kSlots> slots_;
  std::shared_ptr<const Allocation> board_, failed_;  ///< made when they are needed
};

/// Records dispatches and copies in the order of its calls; the device sees that order wherever
/// memory makes it matter. Between two that share no memory, or only read it, there is no barrier.
///
/// Nor is there one between two that overlap: the second asks for what it knows without the first,
/// and then looks for its results on a board, where the first posts each beside storing it
/// (shaders/overlap.glsl). As every result of a kernel that overlaps needs all of x, or for
/// attention all of x needed that, whatever the first waited for is done then as well. This counts
/// on a queue that starts the workgroups of a dispatch before those of the next, so that those who
/// wait are never in the way of those whom they wait for; and on memory that shows a word whole to
/// whoever looks again. Vulkan does not promise that: Features::overlapping_dispatches says where
/// it is so, and workgroups do not wait for ever.
class Recorder {
 public:
  /// What was submitted before counts as written: the recording begins with a barrier.
  Recorder(Device& device, ScratchPool& scratch);

  /// Runs `kernel` on `buffers`, in the order of its arguments. None may be empty. It overlaps with
  /// what comes before and after it by way of `rows`, if it is made for that.
  template <typename Push>
  void Dispatch(const Kernel& kernel, std::initializer_list<Slice> buffers, const Push& push,
                Groups groups, const OverlapRows& rows = {}) {
    DispatchBytes(kernel, buffers, std::as_bytes(std::span(&push, 1)), groups, rows);
  }

  /// For a kernel without push constants.
  void Dispatch(const Kernel& kernel, std::initializer_list<Slice> buffers, Groups groups) {
    DispatchBytes(kernel, buffers, {}, groups, {});
  }

  void Copy(const Slice& from, const Slice& to);  ///< to.size bytes
  void Zero(const Slice& to);

  /// Makes all that was written visible to the host, once the commands have run.
  void ShowHost();

  /// At least `bytes` bytes, whose content lasts until the next use of the slot.
  Slice Scratch(ScratchPool::Slot slot, VkDeviceSize bytes);

  Device& device() const { return device_; }

  /// Ends the recording; nothing may be recorded afterwards.
  Recording Finish();

 private:
  struct Range {
    VkBuffer buffer;
    VkDeviceSize begin, end;
    bool posts = false;  ///< used by a dispatch that the next one can wait for
  };
  struct Post {
    Slice row;
    std::uint32_t place;  ///< on the board
  };

  void DispatchBytes(const Kernel& kernel, std::initializer_list<Slice> buffers,
                     std::span<const std::byte> push, Groups groups, const OverlapRows& rows);
  VkDescriptorSet MakeSet(const Kernel& kernel, std::initializer_list<Slice> buffers);
  void Use(const Slice& slice, bool writes, bool posts);
  void EnsureOrder(bool waits);
  void CopyUnordered(const Slice& from, const Slice& to);
  void Keep(const std::shared_ptr<const Allocation>& memory);
  std::uint32_t FindPost(const Slice& row) const;
  void EnsureRoom(const Slice& row);
  void Fill(const Slice& to, std::uint32_t word);
  void Barrier(bool transfer);

  Device& device_;
  const DeviceFunctions& functions_;
  ScratchPool& scratch_;
  Recording recording_;
  std::uint32_t sets_left_ = 0;  ///< in the last of the pools

  bool transferred_ = false;  ///< the last command was a copy

  std::uint32_t free_ = 0;  ///< place on the board, behind all posts; or 0, where it is not clean

  // Since the last barrier; and of the command to come.
  std::vector<Post> posts_;
  std::vector<Range> read_, written_;
  std::vector<Range> reads_, writes_;
};

}  // namespace mlc::vulkan
