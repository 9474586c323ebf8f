#include "vulkan/result.h"

#include <stdexcept>

namespace mlc::vulkan {

std::string Describe(VkResult result) {
  switch (result) {
    case VK_ERROR_DEVICE_LOST:
      return "the device was lost, since the driver reset it or it was removed; make a new engine, "
             "and where that fails start the process again";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
      return "the device's memory is full; free some of it or use a smaller model";
    case VK_ERROR_OUT_OF_HOST_MEMORY:
      return "the host's memory is full";
    case VK_ERROR_TOO_MANY_OBJECTS:
      return "the driver's limit on the number of allocations is reached";
    case VK_ERROR_INITIALIZATION_FAILED:
      return "the driver failed to initialize";
    case VK_ERROR_INCOMPATIBLE_DRIVER:
      return "no driver on this machine could be loaded";
    default:
      return "VkResult " + std::to_string(static_cast<int>(result));
  }
}

void Check(VkResult result, std::string_view action) {
  if (result == VK_SUCCESS) return;
  throw std::runtime_error("Vulkan cannot " + std::string(action) + ": " + Describe(result) + ".");
}

}  // namespace mlc::vulkan
