#include "vulkan/device.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "vulkan/physical_device.h"
#include "vulkan/result.h"

namespace mlc::vulkan {
namespace {

constexpr std::chrono::milliseconds kPatience{20};  // more than a token takes on most GPUs

}  // namespace

Device::Device(const Instance& instance, const PhysicalDevice& physical) : physical_(physical) {
  VkDevice handle = nullptr;
  vulkan::Check(CreateDevice(instance.functions, physical, &handle), "open " + physical.info.name);
  const auto find = [&](const char* name) {
    return instance.functions.vkGetDeviceProcAddr(handle, name);
  };
  if (const char* missing = functions_.Load(find)) {
    throw std::runtime_error("The Vulkan driver of " + physical.info.name + " lacks " + missing +
                             ": update it.");
  }
  handle_ = {handle, {functions_.vkDestroyDevice}};
  functions_.vkGetDeviceQueue(handle, physical.queue_family, 0, &queue_);
  memory_ = std::make_unique<Memory>(instance.functions, physical, functions_, handle);
  pipeline_cache_ = std::make_unique<PipelineCache>(*this);
}

Device::~Device() {
  if (!lost_ && pipeline_cache_) pipeline_cache_->Save();
}

void Device::Check(VkResult result, const char* action) {
  if (result == VK_ERROR_DEVICE_LOST) lost_ = true;
  vulkan::Check(result, action);
}

const Kernel& Device::GetKernel(const Program& program, std::vector<std::uint32_t> constants) {
  const std::lock_guard lock(kernels_mutex_);
  auto key = std::pair(program.module.data(), std::move(constants));
  auto found = kernels_.find(key);
  if (found == kernels_.end()) {
    Kernel kernel = MakeKernel(*this, program, key.second);
    found = kernels_.emplace(std::move(key), std::move(kernel)).first;
  }
  return found->second;
}

Commands Device::BeginCommands() const {
  Commands commands;
  const VkCommandPoolCreateInfo pool_info{.queueFamilyIndex = physical_.queue_family};
  VkCommandPool pool = nullptr;
  vulkan::Check(functions_.vkCreateCommandPool(handle_.get(), &pool_info, nullptr, &pool),
                "make a command pool");
  commands.pool = Own(pool, functions_.vkDestroyCommandPool);

  const VkCommandBufferAllocateInfo info{
      .commandPool = pool, .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY, .commandBufferCount = 1};
  vulkan::Check(functions_.vkAllocateCommandBuffers(handle_.get(), &info, &commands.buffer),
                "make a command buffer");
  const VkCommandBufferBeginInfo begin;
  vulkan::Check(functions_.vkBeginCommandBuffer(commands.buffer, &begin), "begin a command buffer");
  return commands;
}

Owned<VkFence> Device::MakeFence() const {
  const VkFenceCreateInfo info;
  VkFence fence = nullptr;
  vulkan::Check(functions_.vkCreateFence(handle_.get(), &info, nullptr, &fence), "make a fence");
  return Own(fence, functions_.vkDestroyFence);
}

void Device::Submit(std::span<const VkCommandBuffer> buffers, VkFence fence) {
  const VkSubmitInfo submit{.commandBufferCount = static_cast<std::uint32_t>(buffers.size()),
                            .pCommandBuffers = buffers.data()};
  const std::lock_guard lock(queue_mutex_);
  Check(functions_.vkQueueSubmit(queue_, 1, &submit, fence), "submit work");
}

void Device::Wait(VkFence fence) {
  // A thread that the driver wakes up is late by 0.15 ms, a twentieth of a token. But a processor
  // that plays a GPU needs its threads, and a long prompt is worth no busy processor.
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!software() && std::chrono::steady_clock::now() < end) {
    const VkResult status = functions_.vkGetFenceStatus(handle_.get(), fence);
    if (status != VK_NOT_READY) break;
    std::this_thread::yield();
  }
  Check(functions_.vkWaitForFences(handle_.get(), 1, &fence, VK_TRUE, UINT64_MAX),
        "finish its work");
  Check(functions_.vkResetFences(handle_.get(), 1, &fence), "reset a fence");
}

const PhysicalDevice& FindDevice(std::uint32_t index) {
  const Instance& instance = GetInstance();
  if (index >= instance.devices.size()) {
    throw std::invalid_argument("There is no device vulkan:" + std::to_string(index) + ". " +
                                (instance.devices.empty()
                                     ? instance.reason
                                     : "`mlc_llm devices` lists those that there are."));
  }
  return instance.devices[index];
}

std::shared_ptr<Device> OpenDevice(std::uint32_t index) {
  static std::mutex mutex;
  static std::vector<std::weak_ptr<Device>> open;

  const PhysicalDevice& physical = FindDevice(index);
  const std::lock_guard lock(mutex);
  open.resize(std::max<std::size_t>(open.size(), index + 1));
  std::shared_ptr<Device> device = open[index].lock();
  if (!device || device->lost()) {
    device = std::make_shared<Device>(GetInstance(), physical);
    open[index] = device;
  }
  return device;
}

}  // namespace mlc::vulkan
