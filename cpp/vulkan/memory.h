#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "vulkan/instance.h"

namespace mlc::vulkan {

/// Who uses memory.
enum class Place {
  kDevice,    ///< the device alone, unless its memory is the host's as well
  kStaging,   ///< the host writes, the device copies
  kStep,      ///< the host writes, the device reads, again and again
  kReadback,  ///< the device writes, the host reads
};

/// A part of a buffer.
struct Slice {
  VkBuffer buffer = nullptr;
  VkDeviceSize offset = 0;
  VkDeviceSize size = 0;
  std::byte* mapped = nullptr;  ///< its first byte, where the host sees it

  bool operator==(const Slice&) const = default;

  /// The `part_size` bytes from `part_offset` on.
  Slice Part(VkDeviceSize part_offset, VkDeviceSize part_size) const {
    return {buffer, offset + part_offset, part_size,
            mapped == nullptr ? nullptr : mapped + part_offset};
  }
};

class Memory;

/// A slice that is given back with its owner; the Memory must live longer.
class Allocation {
 public:
  Allocation() = default;
  ~Allocation() { Release(); }
  Allocation(Allocation&& other) noexcept { *this = std::move(other); }
  Allocation& operator=(Allocation&& other) noexcept;

  const Slice& slice() const { return slice_; }

  template <typename T>
  std::span<T> Mapped() const {
    return {reinterpret_cast<T*>(slice_.mapped), static_cast<std::size_t>(slice_.size) / sizeof(T)};
  }

 private:
  friend class Memory;
  void Release();

  Slice slice_;
  Memory* memory_ = nullptr;
  struct Block* block_ = nullptr;
};

/// Bytes of the device's memory that are free: by the driver where it tells, else four fifths
/// of all less the `allocated` ones.
std::uint64_t AvailableMemory(const InstanceFunctions& instance, const PhysicalDevice& physical,
                              std::uint64_t allocated = 0);

/// A device's memory, in large blocks that are cut into slices.
///
/// A block is one piece of memory and one buffer over all of it. Slices that would fill half a
/// block get one of their own, and blocks go when they are empty. Safe to use from several threads.
class Memory {
 public:
  Memory(const InstanceFunctions& instance, const PhysicalDevice& physical,
         const DeviceFunctions& functions, VkDevice device);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  /// At least `bytes` bytes, aligned for every use. Their content is undefined.
  /// Throws std::runtime_error, saying what was asked, what is free and what would fit.
  Allocation Allocate(VkDeviceSize bytes, Place place);

 private:
  friend class Allocation;
  void Free(Block* block, const Slice& slice);
  Block* AddBlock(VkDeviceSize bytes, Place place, VkResult* result);
  std::vector<std::uint32_t> RankTypes(Place place, std::uint32_t allowed) const;
  VkDeviceSize BlockBytes(Place place) const;

  const InstanceFunctions& instance_;
  const PhysicalDevice& physical_;
  const DeviceFunctions& functions_;
  const VkDevice device_;
  const VkDeviceSize alignment_;
  mutable std::mutex mutex_;
  std::list<std::unique_ptr<Block>> blocks_;
  std::uint64_t allocated_ = 0;
};

}  // namespace mlc::vulkan
