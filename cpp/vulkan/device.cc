#include "vulkan/device.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "vulkan/result.h"

namespace mlc::vulkan {
namespace {

constexpr VkDeviceSize kStagingBytes = 16 << 20;

}  // namespace

Device::Device(const Instance& instance, const PhysicalDevice& physical) : physical_(physical) {
  const float priority = 1.0f;
  const VkDeviceQueueCreateInfo queue{
      .queueFamilyIndex = physical.queue_family, .queueCount = 1, .pQueuePriorities = &priority};
  const VkDeviceCreateInfo info{.queueCreateInfoCount = 1, .pQueueCreateInfos = &queue};
  VkDevice handle = nullptr;
  Check(instance.functions.vkCreateDevice(physical.handle, &info, nullptr, &handle),
        "open " + physical.info.name);

  const auto find = [&](const char* name) {
    return instance.functions.vkGetDeviceProcAddr(handle, name);
  };
  if (const char* missing = functions_.Load(find)) {
    throw std::runtime_error("The Vulkan driver of " + physical.info.name + " lacks " + missing +
                             ": update it.");
  }
  handle_ = {handle, {functions_.vkDestroyDevice}};
  functions_.vkGetDeviceQueue(handle, physical.queue_family, 0, &queue_);
}

Buffer Device::MakeBuffer(VkDeviceSize size, VkBufferUsageFlags usage,
                          VkMemoryPropertyFlags required, VkMemoryPropertyFlags wanted) const {
  const VkBufferCreateInfo info{.size = size, .usage = usage};
  VkBuffer handle = nullptr;
  Check(functions_.vkCreateBuffer(handle_.get(), &info, nullptr, &handle), "make a buffer");
  Buffer buffer;
  buffer.handle = Own(handle, functions_.vkDestroyBuffer);

  VkMemoryRequirements requirements;
  functions_.vkGetBufferMemoryRequirements(handle_.get(), handle, &requirements);
  buffer.memory = Allocate(requirements, required, wanted);
  Check(functions_.vkBindBufferMemory(handle_.get(), handle, buffer.memory.get(), 0),
        "bind a buffer's memory");

  if (required & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) {
    void* mapped = nullptr;
    Check(functions_.vkMapMemory(handle_.get(), buffer.memory.get(), 0, VK_WHOLE_SIZE, 0, &mapped),
          "map a buffer's memory");
    buffer.mapped = {static_cast<std::byte*>(mapped), static_cast<std::size_t>(size)};
  }
  return buffer;
}

Owned<VkDeviceMemory> Device::Allocate(const VkMemoryRequirements& requirements,
                                       VkMemoryPropertyFlags required,
                                       VkMemoryPropertyFlags wanted) const {
  const VkPhysicalDeviceMemoryProperties& memory = physical_.memory;
  VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
  for (const VkMemoryPropertyFlags flags : {required | wanted, required}) {
    for (std::uint32_t type = 0; type < memory.memoryTypeCount; ++type) {
      const bool allowed = (requirements.memoryTypeBits >> type) & 1u;
      if (!allowed || (memory.memoryTypes[type].propertyFlags & flags) != flags) continue;
      const VkMemoryAllocateInfo info{.allocationSize = requirements.size, .memoryTypeIndex = type};
      VkDeviceMemory handle = nullptr;
      result = functions_.vkAllocateMemory(handle_.get(), &info, nullptr, &handle);
      if (result == VK_SUCCESS) return Own(handle, functions_.vkFreeMemory);
    }
  }
  throw std::runtime_error("Vulkan cannot allocate " + std::to_string(requirements.size) +
                           " bytes on " + physical_.info.name + ": " + Describe(result) + ".");
}

Buffer Device::Upload(std::span<const std::byte> bytes) {
  Buffer buffer = MakeBuffer(bytes.size(),
                             VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                             VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0);
  const Buffer staging = MakeBuffer(
      std::min<VkDeviceSize>(bytes.size(), kStagingBytes), VK_BUFFER_USAGE_TRANSFER_SRC_BIT,
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT, 0);
  for (std::size_t offset = 0; offset < bytes.size(); offset += staging.mapped.size()) {
    const auto part = bytes.subspan(offset, std::min(staging.mapped.size(), bytes.size() - offset));
    std::memcpy(staging.mapped.data(), part.data(), part.size());
    const Commands commands = BeginCommands();
    const VkBufferCopy region{.dstOffset = offset, .size = part.size()};
    functions_.vkCmdCopyBuffer(commands.buffer, staging.handle.get(), buffer.handle.get(), 1,
                               &region);
    // Makes the copy visible to shaders in all that the queue runs later.
    const VkMemoryBarrier barrier{.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                                  .dstAccessMask = VK_ACCESS_SHADER_READ_BIT};
    functions_.vkCmdPipelineBarrier(commands.buffer, VK_PIPELINE_STAGE_TRANSFER_BIT,
                                    VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &barrier, 0,
                                    nullptr, 0, nullptr);
    Check(functions_.vkEndCommandBuffer(commands.buffer), "record an upload");
    Run(commands);
  }
  return buffer;
}

Commands Device::BeginCommands() const {
  Commands commands;
  const VkCommandPoolCreateInfo pool_info{.queueFamilyIndex = physical_.queue_family};
  VkCommandPool pool = nullptr;
  Check(functions_.vkCreateCommandPool(handle_.get(), &pool_info, nullptr, &pool),
        "make a command pool");
  commands.pool = Own(pool, functions_.vkDestroyCommandPool);

  const VkFenceCreateInfo fence_info;
  VkFence fence = nullptr;
  Check(functions_.vkCreateFence(handle_.get(), &fence_info, nullptr, &fence), "make a fence");
  commands.fence = Own(fence, functions_.vkDestroyFence);

  const VkCommandBufferAllocateInfo info{
      .commandPool = pool, .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY, .commandBufferCount = 1};
  Check(functions_.vkAllocateCommandBuffers(handle_.get(), &info, &commands.buffer),
        "make a command buffer");
  const VkCommandBufferBeginInfo begin;
  Check(functions_.vkBeginCommandBuffer(commands.buffer, &begin), "begin a command buffer");
  return commands;
}

void Device::Run(const Commands& commands) {
  const VkFence fence = commands.fence.get();
  Check(functions_.vkResetFences(handle_.get(), 1, &fence), "reset a fence");
  const VkSubmitInfo submit{.commandBufferCount = 1, .pCommandBuffers = &commands.buffer};
  {
    const std::lock_guard lock(queue_mutex_);
    Check(functions_.vkQueueSubmit(queue_, 1, &submit, fence), "submit work");
  }
  Check(functions_.vkWaitForFences(handle_.get(), 1, &fence, VK_TRUE, UINT64_MAX),
        "finish its work");
}

}  // namespace mlc::vulkan
