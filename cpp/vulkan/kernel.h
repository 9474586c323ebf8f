#pragma once

#include <cstdint>
#include <span>

#include "vulkan/handles.h"

namespace mlc::vulkan {

class Device;

/// A compute shader: its SPIR-V and its arguments.
struct Program {
  std::span<const std::uint32_t> module;
  std::uint32_t buffers = 0;     ///< storage buffers, bound from 0 on in set 0
  std::uint32_t written = 0;     ///< bit i: the shader writes buffer i, and may read it
  std::uint32_t push_bytes = 0;  ///< of push constants
  bool subgroups = false;        ///< counts on Limits::subgroup_size, and on subgroups being full
};

/// A program, compiled for a device.
struct Kernel {
  std::uint32_t buffers = 0;
  std::uint32_t written = 0;
  std::uint32_t push_bytes = 0;
  Owned<VkDescriptorSetLayout> set_layout;
  Owned<VkPipelineLayout> layout;
  Owned<VkPipeline> pipeline;
};

/// Compiles a program; `constants` are its specialization constants, by id.
Kernel MakeKernel(Device& device, const Program& program, std::span<const std::uint32_t> constants);

}  // namespace mlc::vulkan
