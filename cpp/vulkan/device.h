#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "vulkan/handles.h"
#include "vulkan/instance.h"
#include "vulkan/kernel.h"
#include "vulkan/memory.h"
#include "vulkan/pipeline_cache.h"

namespace mlc::vulkan {

/// A command buffer, recorded once and run as often as one likes.
struct Commands {
  Owned<VkCommandPool> pool;
  VkCommandBuffer buffer = nullptr;  ///< belongs to the pool
};

/// A logical device with one compute queue, its memory and the kernels compiled for it.
class Device {
 public:
  /// Throws std::runtime_error when the driver does not open the device.
  Device(const Instance& instance, const PhysicalDevice& physical);
  ~Device();

  const PhysicalDevice& physical() const { return physical_; }
  const Features& features() const { return physical_.capabilities.features; }
  const Limits& limits() const { return physical_.capabilities.limits; }
  const DeviceFunctions& functions() const { return functions_; }
  VkDevice handle() const { return handle_.get(); }
  Memory& memory() { return *memory_; }

  /// A processor that plays a GPU.
  bool software() const { return physical_.type == VK_PHYSICAL_DEVICE_TYPE_CPU; }

  /// Whether the driver has given the device up; whoever comes next must open it anew.
  bool lost() const { return lost_; }

  /// Whether dispatches overlap (Recorder). Where they turned out not to start in order, no more.
  bool overlaps() const { return features().overlapping_dispatches && !disorderly_; }
  void StopOverlapping() { disorderly_ = true; }

  /// How often a dispatch looks whether the one before it is done, before it gives up: for a second
  /// or so. Mesa's software driver ends every loop after 65535 rounds.
  std::uint32_t patience() const { return software() ? 1 << 15 : 1 << 20; }

  /// Takes over a handle that one of this device's vkCreate functions made.
  template <typename Handle>
  Owned<Handle> Own(Handle handle,
                    void (*destroy)(VkDevice, Handle, const VkAllocationCallbacks*)) const {
    return {handle, {handle_.get(), destroy}};
  }

  VkPipelineCache pipeline_cache() const { return pipeline_cache_->handle(); }

  /// The kernel of `program` with these specialization constants, by id; compiled on first use.
  const Kernel& GetKernel(const Program& program, std::vector<std::uint32_t> constants);

  /// Makes a command buffer and begins its recording.
  Commands BeginCommands() const;

  Owned<VkFence> MakeFence() const;

  /// Starts recorded commands, one after another; the device signals `fence` at their end. Safe to
  /// call from several threads. This and `Wait` throw std::runtime_error when the device fails.
  void Submit(std::span<const VkCommandBuffer> buffers, VkFence fence);

  /// Waits for a fence, and resets it.
  void Wait(VkFence fence);

  /// Throws std::runtime_error("Vulkan cannot <action>: <reason>") unless `result` is success.
  void Check(VkResult result, const char* action);

 private:
  const PhysicalDevice& physical_;
  DeviceFunctions functions_;
  std::unique_ptr<std::remove_pointer_t<VkDevice>, DeviceDestroyer> handle_;
  VkQueue queue_ = nullptr;
  std::mutex queue_mutex_;
  std::atomic<bool> lost_ = false;
  std::atomic<bool> disorderly_ = false;
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<PipelineCache> pipeline_cache_;
  std::mutex kernels_mutex_;
  std::map<std::pair<const std::uint32_t*, std::vector<std::uint32_t>>, Kernel> kernels_;
};

/// The device called "vulkan:<index>". Throws std::invalid_argument when there is none.
const PhysicalDevice& FindDevice(std::uint32_t index);

/// The open device called "vulkan:<index>", which all its users share. One that was lost is left to
/// those who have it. Throws std::invalid_argument when there is none of that name.
std::shared_ptr<Device> OpenDevice(std::uint32_t index);

}  // namespace mlc::vulkan
