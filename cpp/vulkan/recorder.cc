#include "vulkan/recorder.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <utility>

#include "vulkan/result.h"

namespace mlc::vulkan {
namespace {

constexpr std::uint32_t kSetsOfPool = 64;
constexpr std::uint32_t kMostBuffers = 12;
constexpr std::uint32_t kTurns = 4096;  // counters: one for a failure, and one for each turn

constexpr VkDeviceSize kWord = sizeof(std::uint32_t);

constexpr VkPipelineStageFlags kCompute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
constexpr VkPipelineStageFlags kTransfer = VK_PIPELINE_STAGE_TRANSFER_BIT;
constexpr VkAccessFlags kComputeAccess = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
constexpr VkAccessFlags kTransferAccess =
    VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
constexpr VkAccessFlags kWrites = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;

/// The counters of turns, and the one before them, for a failure.
Slice TurnsOf(const Slice& counters) { return counters.Part(kWord, (kTurns - 1) * kWord); }
Slice FailureOf(const Slice& counters) { return counters.Part(0, kWord); }

}  // namespace

bool ScratchPool::TakeFailure() {
  return failed_ != nullptr && std::exchange(failed_->Mapped<std::uint32_t>()[0], 0) != 0;
}

void ScratchPool::EnsureCounters(Device& device) {
  if (counters_ != nullptr) return;
  Allocation counters = device.memory().Allocate((kTurns + kOwnCounters) * kWord, Place::kDevice);
  Allocation failed = device.memory().Allocate(kWord, Place::kReadback);
  failed.Mapped<std::uint32_t>()[0] = 0;
  Recorder recorder(device, *this);
  recorder.Zero(counters.slice());
  const Recording zeros = recorder.Finish();
  const Owned<VkFence> fence = device.MakeFence();
  device.Submit({&zeros.commands.buffer, 1}, fence.get());
  device.Wait(fence.get());
  counters_ = std::make_shared<const Allocation>(std::move(counters));
  failed_ = std::make_shared<const Allocation>(std::move(failed));
}

Recorder::Recorder(Device& device, ScratchPool& scratch)
    : device_(device), functions_(device.functions()), scratch_(scratch) {
  recording_.commands = device.BeginCommands();
  Barrier(false);
}

void Recorder::DispatchBytes(const Kernel& kernel, std::initializer_list<Slice> buffers,
                             std::span<const std::byte> push, Groups groups) {
  if (buffers.size() != kernel.buffers || push.size() != kernel.push_bytes) {
    throw std::logic_error("A kernel was given arguments of another one.");
  }
  if (kernel.counters) {
    scratch_.EnsureCounters(device_);
    Keep(scratch_.counters_);
  }
  const bool overlaps = kernel.overlaps && turn_ + 1 < kTurns;
  if (overlaps && turn_ == 0) Zero(TurnsOf(scratch_.counters_->slice()));
  std::uint32_t index = 0;
  for (const Slice& slice : buffers) Use(slice, (kernel.written >> index++) & 1u, overlaps);
  EnsureOrder(overlaps);
  const Overlap overlap = overlaps ? NextTurn(groups) : Overlap{};

  const VkCommandBuffer commands = recording_.commands.buffer;
  const VkDescriptorSet set = MakeSet(kernel, buffers);
  functions_.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel.pipeline.get());
  functions_.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel.layout.get(),
                                     0, 1, &set, 0, nullptr);
  if (!push.empty()) {
    functions_.vkCmdPushConstants(commands, kernel.layout.get(), VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                  static_cast<std::uint32_t>(push.size()), push.data());
  }
  if (kernel.counters) {
    functions_.vkCmdPushConstants(commands, kernel.layout.get(), VK_SHADER_STAGE_COMPUTE_BIT,
                                  kernel.push_bytes, sizeof(overlap), &overlap);
  }
  functions_.vkCmdDispatch(commands, groups.x, groups.y, groups.z);
  ++recording_.work.dispatches;
}

VkDescriptorSet Recorder::MakeSet(const Kernel& kernel, std::initializer_list<Slice> buffers) {
  if (sets_left_ == 0) {
    const VkDescriptorPoolSize size{.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                    .descriptorCount = kSetsOfPool * kMostBuffers};
    const VkDescriptorPoolCreateInfo info{
        .maxSets = kSetsOfPool, .poolSizeCount = 1, .pPoolSizes = &size};
    VkDescriptorPool pool = nullptr;
    Check(functions_.vkCreateDescriptorPool(device_.handle(), &info, nullptr, &pool),
          "make a descriptor pool");
    recording_.pools.push_back(device_.Own(pool, functions_.vkDestroyDescriptorPool));
    sets_left_ = kSetsOfPool;
  }
  --sets_left_;
  const VkDescriptorSetLayout layout = kernel.set_layout.get();
  const VkDescriptorSetAllocateInfo info{.descriptorPool = recording_.pools.back().get(),
                                         .descriptorSetCount = 1,
                                         .pSetLayouts = &layout};
  VkDescriptorSet set = nullptr;
  Check(functions_.vkAllocateDescriptorSets(device_.handle(), &info, &set),
        "make a descriptor set");
  std::array<VkDescriptorBufferInfo, kMostBuffers> infos;
  const auto info_of = [](const Slice& slice) {
    return VkDescriptorBufferInfo{
        .buffer = slice.buffer, .offset = slice.offset, .range = slice.size};
  };
  auto end = std::ranges::transform(buffers, infos.begin(), info_of).out;
  if (kernel.counters) *end++ = info_of(scratch_.counters_->slice());
  // Consecutive bindings of one kind can be written as if they were one array.
  const VkWriteDescriptorSet write{
      .dstSet = set,
      .descriptorCount = static_cast<std::uint32_t>(end - infos.begin()),
      .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
      .pBufferInfo = infos.data()};
  functions_.vkUpdateDescriptorSets(device_.handle(), 1, &write, 0, nullptr);
  return set;
}

void Recorder::Copy(const Slice& from, const Slice& to) {
  Barrier(true);
  CopyUnordered(from, to);
}

/// Right behind a barrier, or a copy of other memory.
void Recorder::CopyUnordered(const Slice& from, const Slice& to) {
  const VkBufferCopy region{.srcOffset = from.offset, .dstOffset = to.offset, .size = to.size};
  functions_.vkCmdCopyBuffer(recording_.commands.buffer, from.buffer, to.buffer, 1, &region);
}

void Recorder::Zero(const Slice& to) {
  Barrier(true);
  functions_.vkCmdFillBuffer(recording_.commands.buffer, to.buffer, to.offset, to.size, 0);
}

void Recorder::ShowHost() {
  if (device_.overlaps()) {
    scratch_.EnsureCounters(device_);
    Keep(scratch_.counters_);
    Keep(scratch_.failed_);
    if (!transferred_) Barrier(true);
    CopyUnordered(FailureOf(scratch_.counters_->slice()), FailureOf(scratch_.failed_->slice()));
  }
  const VkMemoryBarrier barrier{.srcAccessMask = kWrites, .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
  functions_.vkCmdPipelineBarrier(recording_.commands.buffer, kCompute | kTransfer,
                                  VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0, nullptr, 0,
                                  nullptr);
  ++recording_.work.barriers;
}

Slice Recorder::Scratch(ScratchPool::Slot slot, VkDeviceSize bytes) {
  std::shared_ptr<const Allocation>& memory = scratch_.slots_[slot];
  if (memory == nullptr || memory->slice().size < bytes) {
    // Those who recorded the smaller one keep it.
    memory = std::make_shared<const Allocation>(
        device_.memory().Allocate(std::bit_ceil(bytes), Place::kDevice));
  }
  Keep(memory);
  return memory->slice().Part(0, bytes);
}

Recording Recorder::Finish() {
  Check(functions_.vkEndCommandBuffer(recording_.commands.buffer), "record commands");
  return std::move(recording_);
}

void Recorder::Keep(const std::shared_ptr<const Allocation>& memory) {
  if (std::ranges::find(recording_.kept, memory) == recording_.kept.end()) {
    recording_.kept.push_back(memory);
  }
}

/// Of a dispatch that overlaps with the one before it, unless there is a barrier between them.
Overlap Recorder::NextTurn(Groups groups) {
  return {.turn = ++turn_, .before = std::exchange(before_, groups.x * groups.y * groups.z)};
}

void Recorder::Use(const Slice& slice, bool writes, bool overlaps) {
  (writes ? writes_ : reads_)
      .push_back({slice.buffer, slice.offset, slice.offset + slice.size, overlaps});
}

/// Puts a barrier before the command to come, if it needs one. One that overlaps needs none for
/// others that do.
void Recorder::EnsureOrder(bool overlaps) {
  const auto meets = [overlaps](const std::vector<Range>& some, const std::vector<Range>& others) {
    return std::ranges::any_of(some, [&](const Range& a) {
      return std::ranges::any_of(others, [&](const Range& b) {
        return !(overlaps && b.overlaps) && a.buffer == b.buffer && a.begin < b.end &&
               b.begin < a.end;
      });
    });
  };
  if (transferred_ || meets(reads_, written_) || meets(writes_, written_) ||
      meets(writes_, read_)) {
    Barrier(false);
  }
  read_.insert(read_.end(), reads_.begin(), reads_.end());
  written_.insert(written_.end(), writes_.begin(), writes_.end());
  reads_.clear();
  writes_.clear();
}

/// Orders what comes before and after; `transfer` says which of the two kinds comes next. Drivers
/// do more for a copy than for a dispatch, and these are the rule.
void Recorder::Barrier(bool transfer) {
  const bool first = recording_.work.barriers == 0;  // what comes before may be anything
  const bool after_transfer = transferred_ || first;
  const VkMemoryBarrier barrier{
      .srcAccessMask = after_transfer ? kWrites : VK_ACCESS_SHADER_WRITE_BIT,
      .dstAccessMask = transfer ? kTransferAccess : kComputeAccess};
  functions_.vkCmdPipelineBarrier(
      recording_.commands.buffer, kCompute | (after_transfer ? kTransfer : 0),
      transfer ? kTransfer : kCompute, 0, 1, &barrier, 0, nullptr, 0, nullptr);
  ++recording_.work.barriers;
  transferred_ = transfer;
  before_ = 0;
  read_.clear();
  written_.clear();
}

}  // namespace mlc::vulkan
