#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vulkan/vulkan_api.h"

namespace mlc::vulkan {

/// What kernels choose by. All of it is optional: a device may have none.
struct Features {
  bool subgroup_shuffle = false;
  bool subgroup_size_control = false;  ///< subgroups that are full, and of the size asked for
  bool float16 = false;                ///< arithmetic
  bool dot_product = false;            ///< of four int8
  bool cooperative_matrix = false;
  bool memory_budget = false;
  bool overlapping_dispatches = false;  ///< a queue starts workgroups in order: see Recorder
};

/// Limits that kernels and weights must respect.
struct Limits {
  std::uint64_t buffer_range = 0;       ///< bytes that one binding shows a shader
  std::uint64_t allocation = 0;         ///< bytes of one piece of memory
  std::uint32_t invocations = 0;        ///< of one workgroup
  std::uint32_t shared_bytes = 0;       ///< of one workgroup
  std::uint32_t workgroups = 0;         ///< of one dispatch, in x
  std::uint32_t buffers = 0;            ///< of one shader
  std::uint64_t operations = 0;         ///< of one submission: drivers end what takes seconds
  std::uint64_t matrix_operations = 0;  ///< the same, of kernels that use matrix units
  std::uint32_t alignment = 0;          ///< of a binding's offset
  std::uint32_t processors = 0;         ///< that run workgroups, where the driver tells
  std::uint32_t subgroup_size = 0;
};

/// Buffers of a shader that nothing stands in for: of a device with fewer, none is of use.
inline constexpr std::uint32_t kLeastBuffers = 7;

struct Capabilities {
  Features features;
  Limits limits;
  std::vector<VkCooperativeMatrixPropertiesKHR> matrices;  ///< shapes of cooperative matrices
};

/// The names that `mlc_llm devices` shows and MLC_LLM_VULKAN_HIDE takes.
std::vector<std::string> ListFeatures(const Features& features, bool present);

/// Takes out what `hidden`, a list with commas, names: features, and limits as name=value.
/// Throws std::invalid_argument, saying which names there are, for another name.
void Hide(const std::string& hidden, Capabilities& capabilities);

}  // namespace mlc::vulkan
