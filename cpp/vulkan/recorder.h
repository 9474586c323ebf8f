#pragma once

#include <array>
#include <cstdint>
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

/// Workgroups of a dispatch.
struct Groups {
  std::uint32_t x = 1, y = 1, z = 1;
};

/// Memory for what lasts no longer than a few commands, shared by all recordings of one user: they
/// run one after another.
class ScratchPool {
 public:
  /// Uses that may be alive at the same time.
  enum Slot : std::size_t { kDelta, kMatMul, kAttention, kRanking, kSlots };

  /// Counters, from the last one down, that are a kernel's own. It leaves them at zero.
  static constexpr std::uint32_t kOwnCounters = 1 << 14;

  /// Whether a dispatch waited in vain for the one before it, since the last call. If so, what the
  /// recordings computed is wrong.
  bool TakeFailure();

 private:
  friend class Recorder;
  void EnsureCounters(Device& device);

  std::array<std::shared_ptr<const Allocation>, kSlots> slots_;
  std::shared_ptr<const Allocation> counters_, failed_;  ///< made when they are needed
};

/// Records dispatches and copies in the order of its calls; the device sees that order wherever
/// memory makes it matter. Between two that share no memory, or only read it, there is no barrier.
///
/// Nor is there one between two that overlap: the second waits for the first by itself, after it
/// has asked for what it knows without it (shaders/overlap.glsl). Whatever the first waited for is
/// done then as well. This counts on a queue that starts the workgroups of a dispatch before those
/// of the next, so that those who wait are never in the way of those whom they wait for. Vulkan
/// does not promise that: Features::overlapping_dispatches says where it is so, and workgroups do
/// not wait for ever.
class Recorder {
 public:
  /// What was submitted before counts as written: the recording begins with a barrier.
  Recorder(Device& device, ScratchPool& scratch);

  /// Runs `kernel` on `buffers`, in the order of its arguments. None may be empty.
  template <typename Push>
  void Dispatch(const Kernel& kernel, std::initializer_list<Slice> buffers, const Push& push,
                Groups groups) {
    DispatchBytes(kernel, buffers, std::as_bytes(std::span(&push, 1)), groups);
  }

  /// For a kernel without push constants.
  void Dispatch(const Kernel& kernel, std::initializer_list<Slice> buffers, Groups groups) {
    DispatchBytes(kernel, buffers, {}, groups);
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
    bool overlaps = false;  ///< used by a dispatch that the next one can wait for
  };

  void DispatchBytes(const Kernel& kernel, std::initializer_list<Slice> buffers,
                     std::span<const std::byte> push, Groups groups);
  VkDescriptorSet MakeSet(const Kernel& kernel, std::initializer_list<Slice> buffers);
  void Use(const Slice& slice, bool writes, bool overlaps);
  void EnsureOrder(bool overlaps);
  void CopyUnordered(const Slice& from, const Slice& to);
  void Keep(const std::shared_ptr<const Allocation>& memory);
  Overlap NextTurn(Groups groups);
  void Barrier(bool transfer);

  Device& device_;
  const DeviceFunctions& functions_;
  ScratchPool& scratch_;
  Recording recording_;
  std::uint32_t sets_left_ = 0;  ///< in the last of the pools

  bool transferred_ = false;  ///< the last command was a copy

  std::uint32_t turn_ = 0;    ///< of the last dispatch that overlaps
  std::uint32_t before_ = 0;  ///< its workgroups, unless a barrier came after it

  // Since the last barrier; and of the command to come.
  std::vector<Range> read_, written_;
  std::vector<Range> reads_, writes_;
};

}  // namespace mlc::vulkan
