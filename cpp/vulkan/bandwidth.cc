#include <algorithm>
#include <chrono>

#include "vulkan/backend.h"
#include "vulkan/recorder.h"
#include "vulkan/shaders/spirv.h"

namespace mlc::vulkan {

double MeasureBandwidth(std::uint32_t device) {
  constexpr VkDeviceSize kMostBytes = VkDeviceSize{256} << 20;  // larger than caches
  constexpr VkDeviceSize kBlockBytes = 512 * 16;                // of a workgroup, at once
  constexpr int kCopies = 8, kRounds = 4;
  const std::shared_ptr<Device> opened = OpenDevice(device);
  const DeviceMemory memory = GetMemory(device);
  // A processor that plays a GPU is slow, and its caches are small.
  const VkDeviceSize most = std::min({opened->software() ? kMostBytes / 8 : kMostBytes,
                                      memory.available_bytes / 8, memory.buffer_bytes});
  const VkDeviceSize bytes = std::max(most / kBlockBytes, VkDeviceSize{1}) * kBlockBytes;
  const Allocation from = opened->memory().Allocate(bytes, Place::kDevice);
  const Allocation to = opened->memory().Allocate(bytes, Place::kDevice);
  // By a shader: some drivers' own copy reaches a quarter of the bandwidth.
  const Program program{spirv::copy, 2, 1u << 1, sizeof(std::uint32_t)};
  const Kernel& copy = opened->GetKernel(program, {});
  const auto blocks = static_cast<std::uint32_t>(bytes / kBlockBytes);
  const Slice source = from.slice().Part(0, bytes), target = to.slice().Part(0, bytes);
  ScratchPool scratch{false};
  Recorder recorder(*opened, scratch);
  for (int i = 0; i < kCopies; ++i) {
    recorder.Dispatch(copy, {source, target}, 512 * blocks,
                      {std::min(blocks, opened->limits().workgroups)});
  }
  const Recording copies = recorder.Finish();
  const Owned<VkFence> fence = opened->MakeFence();
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    opened->Submit({&copies.commands.buffer, 1}, fence.get());
    opened->Wait(fence.get());
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, 2.0 * kCopies * static_cast<double>(bytes) / seconds.count());
  }
  return best;
}

}  // namespace mlc::vulkan
