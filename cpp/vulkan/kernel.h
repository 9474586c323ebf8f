#pragma once

#include <cstdint>
#include <span>

#include "vulkan/handles.h"

namespace mlc::vulkan {

class Device;

/// Where dispatches that overlap find each other's results: the argument of shaders/overlap.glsl.
struct Overlap {
  std::uint32_t x = 0, addend = 0, to = 0;
};

/// A compute shader: its SPIR-V and its arguments.
struct Program {
  std::span<const std::uint32_t> module;
  std::uint32_t buffers = 0;     ///< storage buffers, bound from 0 on in set 0
  std::uint32_t written = 0;     ///< bit i: the shader writes buffer i, and may read it
  std::uint32_t push_bytes = 0;  ///< of push constants
  bool subgroups = false;        ///< counts on Limits::subgroup_size, and on subgroups being full
  bool board = false;     ///< has the board behind its buffers, and an Overlap behind its push
  bool overlaps = false;  ///< is specialized to wait for the dispatch before it
};

/// A program, compiled for a device.
struct Kernel {
  std::uint32_t buffers = 0;
  std::uint32_t written = 0;
  std::uint32_t push_bytes = 0;
  bool board = false;
  bool overlaps = false;
  Owned<VkDescriptorSetLayout> set_layout;
  Owned<VkPipelineLayout> layout;
  Owned<VkPipeline> pipeline;
};

/// Compiles a program; `constants` are its specialization constants, by id.
Kernel MakeKernel(Device& device, const Program& program, std::span<const std::uint32_t> constants);

}  // namespace mlc::vulkan
