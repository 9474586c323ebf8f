#pragma once

#include <memory>
#include <type_traits>

#include "vulkan/vulkan_api.h"

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

}  // namespace mlc::vulkan
