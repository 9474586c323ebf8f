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

// Of the board (shaders/overlap.glsl): the first unit has the word for a failure, then come posts,
// then kernels' own words. A token of a model of 8B posts 4 MiB.
constexpr VkDeviceSize kWord = sizeof(std::uint32_t), kUnit = 4 * kWord;
constexpr std::uint32_t kUnits = 1 << 18;
constexpr std::uint32_t kNothing = 0xffffffff;

constexpr VkPipelineStageFlags kCompute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
constexpr VkPipelineStageFlags kTransfer = VK_PIPELINE_STAGE_TRANSFER_BIT;
constexpr VkAccessFlags kComputeAccess = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
constexpr VkAccessFlags kTransferAccess =
    VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
constexpr VkAccessFlags kWrites = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;

std::uint32_t UnitsOf(const Slice& row) {
  return static_cast<std::uint32_t>((row.size + kUnit - 1) / kUnit);
}

}  // namespace

bool ScratchPool::TakeFailure() {
  return failed_ != nullptr && std::exchange(failed_->Mapped<std::uint32_t>()[0], 0) != 0;
}

void ScratchPool::EnsureBoard(Device& device) {
  if (board_ != nullptr) return;
  const VkDeviceSize bytes = kUnit * (1 + (posts_ ? kUnits : 0)) + kOwnWords * kWord;
  Allocation board = device.memory().Allocate(bytes, Place::kDevice);
  Allocation failed = device.memory().Allocate(kWord, Place::kReadback);
  failed.Mapped<std::uint32_t>()[0] = 0;
  Recorder recorder(device, *this);
  recorder.Zero(board.slice());
  const Recording zeros = recorder.Finish();
  const Owned<VkFence> fence = device.MakeFence();
  device.Submit({&zeros.commands.buffer, 1}, fence.get());
  device.Wait(fence.get());
  board_ = std::make_shared<const Allocation>(std::move(board));
  failed_ = std::make_shared<const Allocation>(std::move(failed));
}

Recorder::Recorder(Device& device, ScratchPool& scratch)
    : device_(device), functions_(device.functions()), scratch_(scratch) {
  recording_.commands = device.BeginCommands();
  Barrier(false);
}

void Recorder::DispatchBytes(const Kernel& kernel, std::initializer_list<Slice> buffers,
                             std::span<const std::byte> push, Groups groups,
                             const OverlapRows& rows) {
  if (buffers.size() != kernel.buffers || push.size() != kernel.push_bytes) {
    throw std::logic_error("A kernel was given arguments of another one.");
  }
  const bool posts =
      kernel.overlaps && scratch_.posts_ && rows.out.size > 0 && UnitsOf(rows.out) <= kUnits;
  if (kernel.board) {
    scratch_.EnsureBoard(device_);
    Keep(scratch_.board_);
  }
  if (posts) EnsureRoom(rows.out);
  const bool waits = kernel.overlaps && !posts_.empty() && posts_.back().row == rows.x;
  // Whoever waits for this one takes those before it for done.
  if (posts && !waits && !posts_.empty()) Barrier(false);
  std::uint32_t index = 0;
  for (const Slice& slice : buffers) Use(slice, (kernel.written >> index++) & 1u, posts);
  EnsureOrder(waits);
  Overlap overlap;
  if (waits) overlap = {.x = FindPost(rows.x), .addend = FindPost(rows.addend)};
  if (posts) {
    overlap.to = free_;
    posts_.push_back({rows.out, free_});
    free_ += UnitsOf(rows.out);
  }

  const VkCommandBuffer commands = recording_.commands.buffer;
  const VkDescriptorSet set = MakeSet(kernel, buffers);
  functions_.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel.pipeline.get());
  functions_.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel.layout.get(),
                                     0, 1, &set, 0, nullptr);
  if (!push.empty()) {
    functions_.vkCmdPushConstants(commands, kernel.layout.get(), VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                  static_cast<std::uint32_t>(push.size()), push.data());
  }
  if (kernel.board) {
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
  if (kernel.board) *end++ = info_of(scratch_.board_->slice());
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

void Recorder::Zero(const Slice& to) { Fill(to, 0); }

void Recorder::Fill(const Slice& to, std::uint32_t word) {
  Barrier(true);
  functions_.vkCmdFillBuffer(recording_.commands.buffer, to.buffer, to.offset, to.size, word);
}

void Recorder::ShowHost() {
  if (device_.overlaps() && scratch_.posts_) {
    scratch_.EnsureBoard(device_);
    Keep(scratch_.board_);
    Keep(scratch_.failed_);
    if (!transferred_) Barrier(true);
    CopyUnordered(scratch_.board_->slice().Part(0, kWord), scratch_.failed_->slice());
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

/// Where the last results that went to `row` are posted since the last barrier, or 0.
std::uint32_t Recorder::FindPost(const Slice& row) const {
  const auto post = std::ranges::find(posts_.rbegin(), posts_.rend(), row, &Post::row);
  return post == posts_.rend() ? 0 : post->place;
}

/// Cleans the board where it has no room for `row`.
void Recorder::EnsureRoom(const Slice& row) {
  if (free_ > 0 && free_ + UnitsOf(row) <= 1 + kUnits) return;
  Fill(scratch_.board_->slice().Part(kUnit, kUnits * kUnit), kNothing);
  free_ = 1;
}

void Recorder::Use(const Slice& slice, bool writes, bool posts) {
  (writes ? writes_ : reads_)
      .push_back({slice.buffer, slice.offset, slice.offset + slice.size, posts});
}

/// Puts a barrier before the command to come, if it needs one. One that waits for the last that
/// posts needs none for others that do.
void Recorder::EnsureOrder(bool waits) {
  const auto meets = [waits](const std::vector<Range>& some, const std::vector<Range>& others) {
    return std::ranges::any_of(some, [&](const Range& a) {
      return std::ranges::any_of(others, [&](const Range& b) {
        return !(waits && b.posts) && a.buffer == b.buffer && a.begin < b.end && b.begin < a.end;
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
  posts_.clear();
  read_.clear();
  written_.clear();
}

}  // namespace mlc::vulkan
