#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mlc {

/// What `mlc_llm devices` shows of one device.
struct DeviceInfo {
  std::string id;                     ///< "cpu", "vulkan:0", ...
  std::string name;                   ///< marketing name, as the CPU or the driver states it
  std::string type;                   ///< "cpu", "discrete", "integrated", "virtual" or "software"
  std::string driver;                 ///< driver name and version; empty for the CPU
  std::uint64_t memory_bytes = 0;     ///< memory that a model could use
  std::uint32_t subgroup_size = 0;    ///< lanes of a subgroup; 0 for the CPU
  std::vector<std::string> features;  ///< fast paths that this device offers
  std::vector<std::string> missing;   ///< those that it does not
};

/// The devices of one backend, or the reason, in one sentence, why there are none.
struct Discovery {
  std::vector<DeviceInfo> devices;
  std::string reason;
};

}  // namespace mlc
