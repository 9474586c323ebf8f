#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>

#include "vulkan/device.h"

namespace mlc::vulkan {

/// A compute shader, ready to run, with the layouts of its arguments.
struct Kernel {
  Owned<VkDescriptorSetLayout> set_layout;
  Owned<VkPipelineLayout> layout;
  Owned<VkPipeline> pipeline;
};

/// Compiles a SPIR-V module whose arguments are `buffers` storage buffers, bound from 0 on in set
/// 0, and `push_bytes` bytes of push constants; `constants` are its specialization constants, by
/// id.
Kernel MakeKernel(const Device& device, std::span<const std::uint32_t> module,
                  std::uint32_t buffers, std::uint32_t push_bytes,
                  std::span<const std::uint32_t> constants);

/// The buffers that one use of a kernel is bound to.
struct Binding {
  Owned<VkDescriptorPool> pool;
  VkDescriptorSet set = nullptr;  ///< belongs to the pool
};

/// Binds `buffers`, in the order of the kernel's arguments.
Binding Bind(const Device& device, const Kernel& kernel,
             std::initializer_list<const Buffer*> buffers);

}  // namespace mlc::vulkan
