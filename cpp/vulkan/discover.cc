#include <exception>

#include "vulkan/backend.h"
#include "vulkan/instance.h"

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

}  // namespace mlc::vulkan
