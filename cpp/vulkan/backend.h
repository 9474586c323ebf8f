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

/// Uploads `weight` to the device called "vulkan:<device>"; the view is not kept.
///
/// Throws std::invalid_argument when there is no such device, and std::runtime_error when the
/// device fails or has too little memory.
std::unique_ptr<Linear> MakeLinear(std::uint32_t device, const Q4F16Weight& weight);

/// The operators of a decoder on the device called "vulkan:<device>". Throws as MakeLinear.
std::shared_ptr<Backend> MakeBackend(std::uint32_t device);

}  // namespace mlc::vulkan
