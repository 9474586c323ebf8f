#pragma once

#include <string>

#include "vulkan/instance.h"

namespace mlc::vulkan {

/// Asks a device for all that the core wants to know of it, less what MLC_LLM_VULKAN_HIDE hides.
///
/// For one that the core cannot use, the handle is null and `reason` is set. The id is left empty.
/// Throws std::invalid_argument for a name that MLC_LLM_VULKAN_HIDE does not take.
PhysicalDevice Inspect(const InstanceFunctions& functions, VkPhysicalDevice handle,
                       std::string* reason);

/// Opens a logical device with one compute queue and the features that it has.
VkResult CreateDevice(const InstanceFunctions& functions, const PhysicalDevice& physical,
                      VkDevice* device);

}  // namespace mlc::vulkan
