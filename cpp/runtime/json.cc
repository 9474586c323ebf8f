#include "runtime/json.h"

#include <cstdio>
#include <string_view>

namespace mlc {
namespace {

std::string Quote(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      json += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(c));
      json += escape;
    } else {
      json += c;
    }
  }
  return json + "\"";
}

std::string Quote(const std::vector<std::string>& texts) {
  std::string json;
  for (const std::string& text : texts) json += (json.empty() ? "" : ", ") + Quote(text);
  return "[" + json + "]";
}

std::string ToJson(const DeviceInfo& device) {
  return "{\"id\": " + Quote(device.id) + ", \"name\": " + Quote(device.name) +
         ", \"type\": " + Quote(device.type) + ", \"driver\": " + Quote(device.driver) +
         ", \"memory_bytes\": " + std::to_string(device.memory_bytes) +
         ", \"subgroup_size\": " + std::to_string(device.subgroup_size) +
         ", \"features\": " + Quote(device.features) + ", \"missing\": " + Quote(device.missing) +
         "}";
}

}  // namespace

std::string ToJson(const Discovery& cpu, const Discovery& vulkan) {
  std::string devices;
  for (const Discovery* backend : {&cpu, &vulkan}) {
    for (const DeviceInfo& device : backend->devices) {
      devices += (devices.empty() ? "" : ", ") + ToJson(device);
    }
  }
  return "{\"devices\": [" + devices + "], \"vulkan_reason\": " + Quote(vulkan.reason) + "}";
}

}  // namespace mlc
