#include "vulkan/ranking.h"

#include <algorithm>
#include <bit>

#include "vulkan/shaders/spirv.h"

namespace mlc::vulkan {
namespace {

constexpr std::uint32_t kCapacity = 1024;  // tokens of one list
constexpr std::uint32_t kHeadWords = 8;    // count, maximum, sum, least, rest
constexpr std::uint32_t kAnswerWords = kHeadWords + 2 * kCapacity;
constexpr std::uint32_t kMostBlocks = 1024;
constexpr std::uint32_t kLeastBlock = 256;
constexpr std::uint32_t kBlocksOfGroup = 16;
static_assert(kMostBlocks * kCapacity >= kMostRankedTokens);

struct Shape {
  std::uint32_t vocab, block_size, blocks, capacity;
};

Program Adjust() { return {spirv::adjust, 2, 1, sizeof(std::uint32_t)}; }
Program Scan() { return {spirv::scan, 4, 1u << 1 | 1u << 2, sizeof(Shape)}; }
Program List() { return {spirv::shortlist, 4, 1u << 2, sizeof(Shape)}; }

}  // namespace

bool Ranking::Reserve(std::size_t rows) {
  const std::size_t bytes = std::bit_ceil(rows) * kAnswerWords * sizeof(std::uint32_t);
  if (rows == 0 || bytes <= answers_.slice().size) return false;
  answers_ = {};
  answers_ = device_.memory().Allocate(bytes, Place::kReadback);
  return true;
}

void Ranking::Record(Recorder& recorder, const Step& step, const Slice& logits, std::uint32_t rows,
                     std::uint32_t vocab) const {
  const std::uint32_t block_size = std::max(kLeastBlock, CeilDivide(vocab, kMostBlocks));
  const Shape shape{.vocab = vocab,
                    .block_size = block_size,
                    .blocks = CeilDivide(vocab, block_size),
                    .capacity = kCapacity};
  // Lists grow by atomic operations, which are not for the host's memory.
  const VkDeviceSize answer_bytes = VkDeviceSize{rows} * kAnswerWords * sizeof(std::uint32_t);
  const VkDeviceSize partial_bytes = VkDeviceSize{rows} * shape.blocks * 2 * sizeof(float);
  const VkDeviceSize partials_at = CeilDivide(static_cast<std::uint32_t>(answer_bytes), 256) * 256;
  const Slice scratch = recorder.Scratch(ScratchPool::kRanking, partials_at + partial_bytes);
  const Slice answers = scratch.Part(0, answer_bytes);
  const Slice partials = scratch.Part(partials_at, partial_bytes);
  const std::uint32_t lanes = device_.software() ? 8 : 128;
  if (step.adjusts()) {
    recorder.Dispatch(device_.GetKernel(Adjust(), {}), {logits, step.slice()}, vocab, {rows});
  }
  recorder.Dispatch(device_.GetKernel(Scan(), {lanes}), {logits, partials, answers, step.slice()},
                    shape, {shape.blocks, rows});
  recorder.Dispatch(device_.GetKernel(List(), {lanes}), {logits, partials, answers, step.slice()},
                    shape, {CeilDivide(shape.blocks, kBlocksOfGroup), rows});
  recorder.Copy(answers, answers_.slice().Part(0, answer_bytes));
  recorder.ShowHost();
}

std::int64_t Ranking::Take(std::span<Shortlist> out) const {
  std::span<const std::uint32_t> words = answers_.Mapped<std::uint32_t>();
  std::int64_t bytes = 0;
  for (Shortlist& answer : out) {
    const auto number = [&](std::size_t i) { return std::bit_cast<float>(words[i]); };
    answer = {.maximum = number(1),
              .sum = number(2),
              .least = number(3),
              .rest = number(4),

              .complete = words[0] <= kCapacity};
    const std::size_t count = std::min(words[0], kCapacity);
    for (std::size_t i = kHeadWords; i < kHeadWords + 2 * count; i += 2) {
      answer.tokens.push_back({number(i), static_cast<std::int32_t>(words[i + 1])});
    }
    words = words.subspan(kAnswerWords);
    bytes += static_cast<std::int64_t>((kHeadWords + 2 * count) * sizeof(std::uint32_t));
  }
  return bytes;
}

}  // namespace mlc::vulkan
