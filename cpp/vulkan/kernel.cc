#include "vulkan/kernel.h"

#include <vector>

#include "vulkan/device.h"
#include "vulkan/result.h"

namespace mlc::vulkan {
namespace {

Owned<VkDescriptorSetLayout> MakeSetLayout(const Device& device, std::uint32_t buffers) {
  std::vector<VkDescriptorSetLayoutBinding> bindings;
  for (std::uint32_t binding = 0; binding < buffers; ++binding) {
    bindings.push_back({.binding = binding,
                        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                        .descriptorCount = 1,
                        .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT});
  }
  const VkDescriptorSetLayoutCreateInfo info{.bindingCount = buffers, .pBindings = bindings.data()};
  VkDescriptorSetLayout layout = nullptr;
  const DeviceFunctions& functions = device.functions();
  Check(functions.vkCreateDescriptorSetLayout(device.handle(), &info, nullptr, &layout),
        "make a descriptor set layout");
  return device.Own(layout, functions.vkDestroyDescriptorSetLayout);
}

Owned<VkPipelineLayout> MakePipelineLayout(const Device& device, VkDescriptorSetLayout set_layout,
                                           std::uint32_t push_bytes) {
  const VkPushConstantRange range{.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = push_bytes};
  const VkPipelineLayoutCreateInfo info{.setLayoutCount = 1,
                                        .pSetLayouts = &set_layout,
                                        .pushConstantRangeCount = push_bytes > 0 ? 1u : 0u,
                                        .pPushConstantRanges = &range};
  VkPipelineLayout layout = nullptr;
  const DeviceFunctions& functions = device.functions();
  Check(functions.vkCreatePipelineLayout(device.handle(), &info, nullptr, &layout),
        "make a pipeline layout");
  return device.Own(layout, functions.vkDestroyPipelineLayout);
}

Owned<VkPipeline> MakePipeline(const Device& device, VkPipelineLayout layout,
                               const Program& program, std::span<const std::uint32_t> constants) {
  const DeviceFunctions& functions = device.functions();
  const VkShaderModuleCreateInfo module_info{.codeSize = program.module.size_bytes(),
                                             .pCode = program.module.data()};
  VkShaderModule shader = nullptr;
  Check(functions.vkCreateShaderModule(device.handle(), &module_info, nullptr, &shader),
        "load a shader");
  const auto owned_shader = device.Own(shader, functions.vkDestroyShaderModule);

  std::vector<VkSpecializationMapEntry> entries;
  for (std::uint32_t id = 0; id < constants.size(); ++id) {
    entries.push_back({.constantID = id,
                       .offset = id * static_cast<std::uint32_t>(sizeof(std::uint32_t)),
                       .size = sizeof(std::uint32_t)});
  }
  const VkSpecializationInfo specialization{
      .mapEntryCount = static_cast<std::uint32_t>(entries.size()),
      .pMapEntries = entries.data(),
      .dataSize = constants.size_bytes(),
      .pData = constants.data()};
  // Else a driver that has several sizes may choose another for each shader.
  const bool sized = program.subgroups && device.features().subgroup_size_control;
  const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size{.requiredSubgroupSize =
                                                                     device.limits().subgroup_size};
  const VkPipelineShaderStageCreateFlags full =
      VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
  const VkComputePipelineCreateInfo info{
      .stage = {.pNext = sized ? &size : nullptr,
                .flags = sized ? full : 0,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = shader,
                .pName = "main",
                .pSpecializationInfo = &specialization},
      .layout = layout,
  };
  VkPipeline pipeline = nullptr;
  Check(functions.vkCreateComputePipelines(device.handle(), device.pipeline_cache(), 1, &info,
                                           nullptr, &pipeline),
        "compile a shader");
  return device.Own(pipeline, functions.vkDestroyPipeline);
}

}  // namespace

Kernel MakeKernel(Device& device, const Program& program,
                  std::span<const std::uint32_t> constants) {
  Kernel kernel;
  kernel.buffers = program.buffers;
  kernel.written = program.written;
  kernel.push_bytes = program.push_bytes;
  kernel.board = program.board;
  kernel.overlaps = program.overlaps;
  const auto overlap_bytes = static_cast<std::uint32_t>(program.board ? sizeof(Overlap) : 0);
  kernel.set_layout = MakeSetLayout(device, program.buffers + (program.board ? 1 : 0));
  kernel.layout =
      MakePipelineLayout(device, kernel.set_layout.get(), program.push_bytes + overlap_bytes);
  kernel.pipeline = MakePipeline(device, kernel.layout.get(), program, constants);
  return kernel;
}

}  // namespace mlc::vulkan
