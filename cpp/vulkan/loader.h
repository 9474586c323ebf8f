#pragma once

#include <string>

#include "vulkan/vulkan_api.h"

namespace mlc::vulkan {

/// The Vulkan loader, opened at run time; it stays open until the process ends.
struct Loader {
  PFN_vkGetInstanceProcAddr get_instance_proc_addr = nullptr;
  std::string reason{};  ///< why `get_instance_proc_addr` is null, in one sentence
};

/// Opens the loader that this platform has, or the one that MLC_LLM_VULKAN_LOADER names.
Loader OpenLoader();

}  // namespace mlc::vulkan
