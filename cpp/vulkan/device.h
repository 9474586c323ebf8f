#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <type_traits>

#include "vulkan/instance.h"

namespace mlc::vulkan {

template <typename Handle>
struct Destroyer {
  void operator()(Handle handle) const { destroy(device, handle, nullptr); }

  VkDevice device = nullptr;
  void (*destroy)(VkDevice, Handle, const VkAllocationCallbacks*) = nullptr;
};

struct DeviceDestroyer {
  void operator()(VkDevice device) const { destroy(device, nullptr); }

  PFN_vkDestroyDevice destroy = nullptr;
};

/// A handle that is destroyed with its owner; the Device must live longer.
template <typename Handle>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroyer<Handle>>;

/// A buffer with memory of its own.
struct Buffer {
  Owned<VkDeviceMemory> memory;
  Owned<VkBuffer> handle;
  std::span<std::byte> mapped;  ///< empty unless the host can see the memory
};

/// A command buffer, recorded once and run as often as one likes.
struct Commands {
  Owned<VkCommandPool> pool;
  Owned<VkFence> fence;
  VkCommandBuffer buffer = nullptr;  ///< belongs to the pool
};

/// A logical device with one compute queue.
class Device {
 public:
  /// Throws std::runtime_error when the driver does not open the device.
  Device(const Instance& instance, const PhysicalDevice& physical);

  const PhysicalDevice& physical() const { return physical_; }
  const DeviceFunctions& functions() const { return functions_; }
  VkDevice handle() const { return handle_.get(); }

  /// Takes over a handle that one of this device's vkCreate functions made.
  template <typename Handle>
  Owned<Handle> Own(Handle handle,
                    void (*destroy)(VkDevice, Handle, const VkAllocationCallbacks*)) const {
    return {handle, {handle_.get(), destroy}};
  }

  /// Makes a buffer in memory with all `required` properties and, where there is room in such
  /// memory, all `wanted` ones. Memory required to be host-visible is mapped.
  Buffer MakeBuffer(VkDeviceSize size, VkBufferUsageFlags usage, VkMemoryPropertyFlags required,
                    VkMemoryPropertyFlags wanted) const;

  /// Makes a storage buffer in the device's own memory that holds `bytes`.
  Buffer Upload(std::span<const std::byte> bytes);

  /// Makes a command buffer and begins its recording.
  Commands BeginCommands() const;

  /// Runs recorded commands and waits until the device has done them. Safe to call from several
  /// threads, each with commands of its own.
  void Run(const Commands& commands);

 private:
  Owned<VkDeviceMemory> Allocate(const VkMemoryRequirements& requirements,
                                 VkMemoryPropertyFlags required,
                                 VkMemoryPropertyFlags wanted) const;

  const PhysicalDevice& physical_;
  DeviceFunctions functions_;
  std::unique_ptr<std::remove_pointer_t<VkDevice>, DeviceDestroyer> handle_;
  VkQueue queue_ = nullptr;
  std::mutex queue_mutex_;
};

}  // namespace mlc::vulkan
