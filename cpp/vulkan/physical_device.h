#pragma once

#include <string>

#include "vulkan/instance.h"

namespace mlc::vulkan {

/// Asks a device for all that the core wants to know of it.
///
/// For one that the core cannot use, the handle is null and `reason` is set. The id is left empty.
PhysicalDevice Inspect(const InstanceFunctions& functions, VkPhysicalDevice handle,
                       std::string* reason);

}  // namespace mlc::vulkan
