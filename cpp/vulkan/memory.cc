#include "vulkan/memory.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include "vulkan/handles.h"
#include "vulkan/result.h"

namespace mlc::vulkan {

/// One piece of the device's memory, with a buffer over all of it.
struct Block {
  Owned<VkDeviceMemory> memory;
  Owned<VkBuffer> buffer;
  Place place{};
  VkDeviceSize size = 0;
  std::byte* mapped = nullptr;
  std::map<VkDeviceSize, VkDeviceSize> free;  ///< offset -> size; no two of them touch
};

namespace {

constexpr VkDeviceSize kLeastBlock = VkDeviceSize{4} << 20;
constexpr VkDeviceSize kMostBlock = VkDeviceSize{256} << 20;
constexpr VkMemoryPropertyFlags kDeviceLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
constexpr VkMemoryPropertyFlags kVisible =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
constexpr VkMemoryPropertyFlags kCached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;

/// What memory of a place must have, should have and should rather not have.
struct Wishes {
  VkMemoryPropertyFlags required, wanted, unwanted;
};

Wishes WishesOf(Place place, bool unified) {
  switch (place) {
    case Place::kDevice:
      // A driver may call but a part of unified memory the device's own.
      return unified ? Wishes{0, kDeviceLocal | kVisible, 0} : Wishes{kDeviceLocal, 0, kVisible};
    case Place::kStaging:
      return {kVisible, 0, kDeviceLocal};
    case Place::kStep:
      return {kVisible, kDeviceLocal, kCached};
    case Place::kReadback:
      break;
  }
  return {kVisible, kCached, unified ? 0 : kDeviceLocal};
}

std::string Size(std::uint64_t bytes) {
  char text[32];
  const bool large = bytes >= std::uint64_t{1} << 30;
  std::snprintf(text, sizeof(text), "%.1f %s",
                static_cast<double>(bytes) / (large ? 1 << 30 : 1 << 20), large ? "GiB" : "MiB");
  return text;
}

/// Takes `bytes` out of a block's free parts; false where none is large enough.
bool Take(Block& block, VkDeviceSize bytes, Slice& slice) {
  const auto found =
      std::ranges::find_if(block.free, [bytes](const auto& part) { return part.second >= bytes; });
  if (found == block.free.end()) return false;
  const auto [offset, size] = *found;
  block.free.erase(found);
  if (size > bytes) block.free.emplace(offset + bytes, size - bytes);
  slice = {block.buffer.get(), offset, bytes,
           block.mapped == nullptr ? nullptr : block.mapped + offset};
  return true;
}

}  // namespace

Allocation& Allocation::operator=(Allocation&& other) noexcept {
  if (this != &other) {
    Release();
    slice_ = std::exchange(other.slice_, {});
    memory_ = std::exchange(other.memory_, nullptr);
    block_ = std::exchange(other.block_, nullptr);
  }
  return *this;
}

void Allocation::Release() {
  if (memory_ != nullptr) memory_->Free(block_, slice_);
  memory_ = nullptr;
}

Memory::Memory(const InstanceFunctions& instance, const PhysicalDevice& physical,
               const DeviceFunctions& functions, VkDevice device)
    : instance_(instance),
      physical_(physical),
      functions_(functions),
      device_(device),
      // 256 is the largest alignment that a device may ask for, and suits 16-byte loads.
      alignment_(std::max<VkDeviceSize>(256, physical.capabilities.limits.alignment)) {}

Memory::~Memory() = default;

Allocation Memory::Allocate(VkDeviceSize bytes, Place place) {
  const VkDeviceSize rounded =
      (std::max<VkDeviceSize>(bytes, 1) + alignment_ - 1) / alignment_ * alignment_;
  const std::lock_guard lock(mutex_);
  Allocation allocation;
  const auto take_from = [&](Block& block) {
    if (!Take(block, rounded, allocation.slice_)) return false;
    allocation.slice_.size = rounded;
    allocation.memory_ = this;
    allocation.block_ = &block;
    return true;
  };
  const VkDeviceSize block_bytes = BlockBytes(place);
  const bool alone = rounded > block_bytes / 2;
  if (!alone) {
    for (const auto& block : blocks_) {
      if (block->place == place && take_from(*block)) return allocation;
    }
  }
  VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
  Block* block = nullptr;
  if (rounded <= physical_.capabilities.limits.allocation) {
    if (!alone) block = AddBlock(block_bytes, place, &result);
    if (block == nullptr) block = AddBlock(rounded, place, &result);
  }
  if (block != nullptr && take_from(*block)) return allocation;
  if (result != VK_ERROR_OUT_OF_DEVICE_MEMORY && result != VK_ERROR_OUT_OF_HOST_MEMORY) {
    Check(result, "allocate memory");
  }
  throw std::runtime_error("Vulkan cannot allocate " + Size(rounded) + " on " +
                           physical_.info.name + ": of its " + Size(physical_.info.memory_bytes) +
                           ", " + Size(allocated_) + " are taken by this process, and about " +
                           Size(AvailableMemory(instance_, physical_, allocated_)) +
                           " are free. Use a model or a context that fits, or free memory.");
}

VkDeviceSize Memory::BlockBytes(Place place) const {
  const VkDeviceSize most = std::min(kMostBlock, physical_.info.memory_bytes / 8);
  // As much again as there is: small models take little, large ones few blocks.
  return place == Place::kDevice
             ? std::clamp(std::bit_ceil(allocated_), kLeastBlock, std::max(kLeastBlock, most))
             : kLeastBlock;
}

Block* Memory::AddBlock(VkDeviceSize bytes, Place place, VkResult* result) {
  auto block = std::make_unique<Block>();
  block->place = place;
  block->size = bytes;
  const VkBufferCreateInfo info{.size = bytes,
                                .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                         VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                         VK_BUFFER_USAGE_TRANSFER_DST_BIT};
  VkBuffer buffer = nullptr;
  *result = functions_.vkCreateBuffer(device_, &info, nullptr, &buffer);
  if (*result != VK_SUCCESS) return nullptr;
  block->buffer = {buffer, {device_, functions_.vkDestroyBuffer}};
  VkMemoryRequirements requirements;
  functions_.vkGetBufferMemoryRequirements(device_, buffer, &requirements);

  *result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
  for (const std::uint32_t type : RankTypes(place, requirements.memoryTypeBits)) {
    const VkMemoryAllocateInfo allocate{.allocationSize = requirements.size,
                                        .memoryTypeIndex = type};
    VkDeviceMemory memory = nullptr;
    *result = functions_.vkAllocateMemory(device_, &allocate, nullptr, &memory);
    if (*result != VK_SUCCESS) continue;
    block->memory = {memory, {device_, functions_.vkFreeMemory}};
    *result = functions_.vkBindBufferMemory(device_, buffer, memory, 0);
    const VkMemoryPropertyFlags flags = physical_.memory.memoryTypes[type].propertyFlags;
    if (*result == VK_SUCCESS && (flags & kVisible) == kVisible) {
      void* mapped = nullptr;
      *result = functions_.vkMapMemory(device_, memory, 0, VK_WHOLE_SIZE, 0, &mapped);
      block->mapped = static_cast<std::byte*>(mapped);
    }
    if (*result != VK_SUCCESS) return nullptr;
    block->free.emplace(0, bytes);
    allocated_ += bytes;
    return blocks_.emplace_back(std::move(block)).get();
  }
  return nullptr;
}

std::vector<std::uint32_t> Memory::RankTypes(Place place, std::uint32_t allowed) const {
  const Wishes wishes = WishesOf(place, physical_.unified());
  std::vector<std::pair<int, std::uint32_t>> ranked;
  for (std::uint32_t type = 0; type < physical_.memory.memoryTypeCount; ++type) {
    const VkMemoryPropertyFlags flags = physical_.memory.memoryTypes[type].propertyFlags;
    // Other properties need features of their own.
    const bool usable = (flags & ~(kDeviceLocal | kVisible | kCached)) == 0;
    if (!((allowed >> type) & 1u) || !usable) continue;
    if ((flags & wishes.required) != wishes.required) continue;
    const VkMemoryPropertyFlags missing = wishes.wanted & ~flags;
    // Whose memory it is counts most.
    const int cost = std::popcount(missing) + (missing & kDeviceLocal ? 2 : 0) +
                     std::popcount(wishes.unwanted & flags);
    ranked.emplace_back(cost, type);
  }
  std::ranges::sort(ranked);
  std::vector<std::uint32_t> types;
  for (const auto& [cost, type] : ranked) types.push_back(type);
  return types;
}

void Memory::Free(Block* block, const Slice& slice) {
  const std::lock_guard lock(mutex_);
  auto next = block->free.lower_bound(slice.offset);
  VkDeviceSize offset = slice.offset, size = slice.size;
  if (next != block->free.end() && next->first == offset + size) {
    size += next->second;
    next = block->free.erase(next);
  }
  if (next != block->free.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      offset = before->first;
      size += before->second;
      block->free.erase(before);
    }
  }
  block->free.emplace(offset, size);
  if (size < block->size) return;
  allocated_ -= block->size;
  std::erase_if(blocks_, [block](const auto& one) { return one.get() == block; });
}

std::uint64_t AvailableMemory(const InstanceFunctions& instance, const PhysicalDevice& physical,
                              std::uint64_t allocated) {
  if (!physical.capabilities.features.memory_budget) {
    const std::uint64_t usable = physical.info.memory_bytes / 5 * 4;
    return usable - std::min(usable, allocated);
  }
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget;
  VkPhysicalDeviceMemoryProperties2 properties{.pNext = &budget};
  instance.vkGetPhysicalDeviceMemoryProperties2(physical.handle, &properties);
  return physical.UsableBytes([&](std::uint32_t heap) {
    return budget.heapBudget[heap] - std::min(budget.heapUsage[heap], budget.heapBudget[heap]);
  });
}

}  // namespace mlc::vulkan
