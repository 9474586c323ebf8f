#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/device.h"
#include "vulkan/features.h"
#include "vulkan/vulkan_api.h"

namespace mlc::vulkan {

/// Vulkan's encoding of an API version.
constexpr std::uint32_t ApiVersion(std::uint32_t major, std::uint32_t minor) {
  return (major << 22) | (minor << 12);
}

inline constexpr std::uint32_t kDeviceVersion = ApiVersion(1, 2);  ///< what the core needs

/// A device that the core can use.
struct PhysicalDevice {
  VkPhysicalDevice handle = nullptr;
  std::uint32_t queue_family = 0;  ///< the first one with compute
  VkPhysicalDeviceType type{};
  Capabilities capabilities;
  VkPhysicalDeviceMemoryProperties memory{};
  std::array<std::uint8_t, VK_UUID_SIZE> cache_uuid{};  ///< of pipelines that the driver compiles
  DeviceInfo info;

  /// All memory is the host's: what it sees, it need not copy.
  bool unified() const {
    return type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU || type == VK_PHYSICAL_DEVICE_TYPE_CPU;
  }

  /// Of what heaps have, what the device may use: of its own memory that in one heap, the most; of
  /// unified memory all, whoever's the driver says it is. `bytes_of` takes the index of a heap.
  template <typename BytesOf>
  std::uint64_t UsableBytes(const BytesOf& bytes_of) const {
    std::uint64_t usable = 0;
    for (std::uint32_t heap = 0; heap < memory.memoryHeapCount; ++heap) {
      if (unified()) {
        usable += bytes_of(heap);
      } else if (memory.memoryHeaps[heap].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) {
        usable = std::max<std::uint64_t>(usable, bytes_of(heap));
      }
    }
    return usable;
  }
};

/// The process's Vulkan instance and its usable devices, or the reason why there are none.
struct Instance {
  VkInstance handle = nullptr;
  InstanceFunctions functions;
  std::vector<PhysicalDevice> devices;
  std::string reason;
};

/// Returns the instance, which the first call creates. Throws only std::bad_alloc.
const Instance& GetInstance();

}  // namespace mlc::vulkan
