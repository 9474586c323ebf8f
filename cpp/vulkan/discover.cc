#include <algorithm>
#include <exception>

#include "vulkan/backend.h"
#include "vulkan/device.h"

namespace mlc::vulkan {

Discovery Discover() noexcept {
  Discovery found;
  try {
    const Instance& instance = GetInstance();
    for (const PhysicalDevice& device : instance.devices) found.devices.push_back(device.info);
    found.reason = instance.reason;
  } catch (const std::exception&) {
    found.reason = "Out of memory.";  // fits a string without an allocation
  }
  return found;
}

DeviceMemory GetMemory(std::uint32_t device) {
  const PhysicalDevice& physical = FindDevice(device);
  const Limits& limits = physical.capabilities.limits;
  return {.available_bytes = AvailableMemory(GetInstance().functions, physical),
          .buffer_bytes = std::min(limits.buffer_range, limits.allocation)};
}

}  // namespace mlc::vulkan
