#include "ffi/device.h"

#include <charconv>
#include <stdexcept>
#include <string_view>

namespace mlc {

std::optional<std::uint32_t> VulkanIndex(const std::string& device) {
  constexpr std::string_view kVulkan = "vulkan:";
  if (device == "cpu") return std::nullopt;
  if (device.starts_with(kVulkan)) {
    std::uint32_t index = 0;
    const char* const last = device.data() + device.size();
    const auto [end, error] = std::from_chars(device.data() + kVulkan.size(), last, index);
    if (error == std::errc() && end == last) return index;
  }
  throw std::invalid_argument("There is no device \"" + device +
                              "\". `mlc_llm devices` lists those that there are.");
}

}  // namespace mlc
