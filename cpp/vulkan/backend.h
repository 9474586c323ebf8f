#pragma once

#include <cstdint>
#include <memory>

#include "runtime/backend.h"
#include "runtime/device.h"
#include "runtime/linear.h"

namespace mlc::vulkan {

/// The Vulkan devices of this machine, or why there are none. Never throws.
///
/// The Vulkan loader is opened at run time, at the first call: libvulkan.so.1 or vulkan-1.dll, or
/// the file that the environment variable MLC_LLM_VULKAN_LOADER names.
Discovery Discover() noexcept;

/// What a model on one device may take.
struct DeviceMemory {
  std::uint64_t available_bytes = 0;  ///< that are free now
  std::uint64_t buffer_bytes = 0;     ///< of one buffer, at most
};

/// Asks the device called "vulkan:<device>", without opening it.
/// Throws std::invalid_argument when there is none.
DeviceMemory GetMemory(std::uint32_t device);

/// The bytes per second, read and written together, at which the device copies within its memory.
/// Throws as MakeLinear.
double MeasureBandwidth(std::uint32_t device);

/// Uploads `weight` to the device called "vulkan:<device>"; the view is not kept.
///
/// Throws std::invalid_argument when there is no such device, and std::runtime_error when the
/// device fails or has too little memory.
std::unique_ptr<Linear> MakeLinear(std::uint32_t device, const Q4F16Weight& weight);

/// The operators of a decoder on the device called "vulkan:<device>". Throws as MakeLinear.
std::shared_ptr<Backend> MakeBackend(std::uint32_t device);

}  // namespace mlc::vulkan
