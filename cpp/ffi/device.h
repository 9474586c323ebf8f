#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace mlc {

/// The number in "vulkan:<number>", or nothing for "cpu".
/// Throws std::invalid_argument for any other name.
std::optional<std::uint32_t> VulkanIndex(const std::string& device);

}  // namespace mlc
