#include "vulkan/upload.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "vulkan/result.h"

namespace mlc::vulkan {
namespace {

constexpr std::size_t kParts = 4;

}  // namespace

void Uploader::Await() const noexcept {
  for (const Part& part : ring_) {
    const VkFence fence = part.fence.get();
    if (part.commands.buffer == nullptr) continue;
    device_.functions().vkWaitForFences(device_.handle(), 1, &fence, VK_TRUE, UINT64_MAX);
  }
}

void Uploader::Write(const Slice& to, std::size_t bytes, const Fill& fill) {
  const DeviceFunctions& functions = device_.functions();
  for (std::size_t offset = 0; offset < bytes; offset += kPart) {
    const std::size_t size = std::min(kPart, bytes - offset);
    if (to.mapped != nullptr) {
      fill(offset, {to.mapped + offset, size});
      continue;
    }
    Part& part = NextPart();
    fill(offset, part.memory.Mapped<std::byte>().first(size));
    Commands commands = device_.BeginCommands();
    const Slice& from = part.memory.slice();
    const VkBufferCopy region{
        .srcOffset = from.offset, .dstOffset = to.offset + offset, .size = size};
    functions.vkCmdCopyBuffer(commands.buffer, from.buffer, to.buffer, 1, &region);
    Check(functions.vkEndCommandBuffer(commands.buffer), "record an upload");
    device_.Submit({&commands.buffer, 1}, part.fence.get());
    part.commands = std::move(commands);
  }
}

void Uploader::Write(const Slice& to, std::span<const std::byte> bytes) {
  Write(to, bytes.size(), [&](std::size_t offset, std::span<std::byte> part) {
    std::memcpy(part.data(), bytes.data() + offset, part.size());
  });
}

Uploader::Part& Uploader::NextPart() {
  if (ring_.size() < kParts) {
    ring_.push_back({.memory = device_.memory().Allocate(kPart, Place::kStaging),
                     .commands = {},
                     .fence = device_.MakeFence()});
    return ring_.back();
  }
  Part& part = ring_[next_];
  next_ = (next_ + 1) % kParts;
  device_.Wait(part.fence.get());
  part.commands = {};
  return part;
}

void Uploader::Finish() {
  for (Part& part : ring_) {
    if (part.commands.buffer != nullptr) device_.Wait(part.fence.get());
    part.commands = {};
  }
  ring_.clear();
  next_ = 0;
}

}  // namespace mlc::vulkan
