#pragma once

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
  std::uint32_t api_version = 0;
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
