#include <algorithm>
#include <chrono>

#include "vulkan/backend.h"
#include "vulkan/recorder.h"

namespace mlc::vulkan {

double MeasureBandwidth(std::uint32_t device) {
  constexpr VkDeviceSize kMostBytes = VkDeviceSize{256} << 20;  // larger than caches
  constexpr int kCopies = 8, kRounds = 4;
  const std::shared_ptr<Device> opened = OpenDevice(device);
  const DeviceMemory memory = GetMemory(device);
  // A processor that plays a GPU is slow, and its caches are small.
  const VkDeviceSize bytes = std::min({opened->software() ? kMostBytes / 8 : kMostBytes,
                                       memory.available_bytes / 8, memory.buffer_bytes});
  const Allocation from = opened->memory().Allocate(bytes, Place::kDevice);
  const Allocation to = opened->memory().Allocate(bytes, Place::kDevice);
  ScratchPool scratch;
  Recorder recorder(*opened, scratch);
  for (int i = 0; i < kCopies; ++i) recorder.Copy(from.slice(), to.slice());
  const Recording copies = recorder.Finish();
  const Owned<VkFence> fence = opened->MakeFence();
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    opened->Submit({&copies.commands.buffer, 1}, fence.get());
    opened->Wait(fence.get());
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, 2.0 * kCopies * static_cast<double>(to.slice().size) / seconds.count());
  }
  return best;
}

}  // namespace mlc::vulkan
