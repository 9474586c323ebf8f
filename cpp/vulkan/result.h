#pragma once

#include <string>
#include <string_view>

#include "vulkan/vulkan_api.h"

namespace mlc::vulkan {

/// What `result` means, in words; the number for a code that has no words here.
std::string Describe(VkResult result);

/// Throws std::runtime_error("Vulkan cannot <action>: <reason>") unless `result` is success.
void Check(VkResult result, std::string_view action);

}  // namespace mlc::vulkan
