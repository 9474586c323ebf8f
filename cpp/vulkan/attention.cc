#include "vulkan/attention.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>

#include "vulkan/matrix_product.h"
#include "vulkan/memory.h"
#include "vulkan/shaders/spirv.h"

namespace mlc::vulkan {
namespace {

std::int32_t NextId() {
  static std::atomic<std::int32_t> next = 0;
  return ++next;
}

struct RotateShape {
  std::uint32_t first_row, heads, kv_heads, head_dim, padded_dim, rotary_dim;
  float rotary_scale, epsilon;
};

struct AttendShape {
  std::uint32_t first_row, heads, kv_heads, head_dim, padded_dim, window;
  float scale, softcap;
};

struct MatrixShape {
  std::uint32_t first_row, rows, heads, kv_heads, head_dim, window;
  float scale, softcap;
};

struct OneShape {
  std::uint32_t first_row, kv_heads, head_dim, rotary_dim, first_page, room;
  float rotary_scale, epsilon, scale, softcap;
};

// Of shaders/attend_one.comp.
constexpr std::uint32_t kMostInvocations = 512;
constexpr std::uint32_t kMostHeads = 2;
constexpr std::uint32_t kBusy = 128;  // workgroups that keep a GPU busy
constexpr std::uint32_t kMostRounds = 4;
constexpr std::uint32_t kHeldBytes = 128;        // of keys, and as many of values, as registers go
constexpr std::uint32_t kNear = 8;               // lanes that share the key of a token
constexpr std::uint32_t kOneBuffers = 10;        // with the board
constexpr std::size_t kPartialBytes = 32 << 20;  // of what splits found, at a time

Program Rotate() { return {spirv::rotate, 7, 7, sizeof(RotateShape)}; }
Program Attend() { return {spirv::attend, 5, 1u << 3, sizeof(AttendShape)}; }

std::uint32_t Size(std::int32_t value) { return static_cast<std::uint32_t>(value); }

/// Subgroups of a workgroup of shaders/attend_matrix.comp, each with 16 rows; 0 where it cannot
/// run.
std::uint32_t MatrixSubgroups(const Device& device, const DeviceKvCache& cache) {
  const std::uint32_t dim = cache.padded_dim(), lanes = device.limits().subgroup_size;
  if (!cache.layout().half || !device.features().subgroup_shuffle || !HasMatrixProduct(device)) {
    return 0;
  }
  for (const std::uint32_t subgroups : {4u, 2u}) {
    const std::uint32_t tile = 2 * 32 * (dim / 8 + 1) * 16;
    const std::uint32_t each = 16 * (32 + 4) * 4 + 16 * (32 / 8 + 1) * 16;
    if (tile + subgroups * each <= device.limits().shared_bytes &&
        subgroups * lanes <= device.limits().invocations && lanes >= 16) {
      return subgroups;
    }
  }
  return 0;
}

/// Who works in shaders/attend_one.comp at what. The order of sums depends on all of it but the
/// heads, so that it is the same for all steps of a model.
struct OneGroup {
  bool subgroups = false;    ///< its lanes are subgroups of the device
  std::uint32_t lanes = 0;   ///< that exchange values
  std::uint32_t count = 0;   ///< of such lane groups in a workgroup
  std::uint32_t heads = 0;   ///< of q, at most
  std::uint32_t rounds = 0;  ///< keys of an invocation
  std::uint32_t wide = 0;    ///< lanes that share the values of a token
  std::uint32_t split() const { return rounds * lanes / kNear * count; }  ///< tokens
};

/// Bytes of shared memory that shaders/attend_one.comp takes.
std::uint32_t SharedBytes(const OneGroup& group, std::uint32_t dim) {
  const std::uint32_t found = group.heads * (group.count * (dim + 2) + group.split() + 1);
  const std::uint32_t exchanged = group.subgroups ? 0 : group.lanes * group.count;
  return ((group.heads + 2) * dim + found + exchanged + 1) * 4;
}

OneGroup OneGroupFor(const Device& device, const DeviceKvCache& cache, const AttentionSpec& spec) {
  const Limits& limits = device.limits();
  const std::uint32_t dim = cache.padded_dim();
  const std::uint32_t row_bytes = dim * (cache.layout().half ? 2 : 4);
  OneGroup group;
  group.subgroups = device.features().subgroup_shuffle && limits.subgroup_size >= kNear;
  group.lanes = group.subgroups ? limits.subgroup_size : 32;
  group.heads = std::min(Size(spec.heads / spec.kv_heads), kMostHeads);
  group.rounds = std::clamp(std::bit_floor(kHeldBytes * kNear / row_bytes), 1u,
                            std::min(kMostRounds, Size(kPageTokens) * kNear / group.lanes));
  group.wide = std::clamp(std::bit_ceil(dim / 4), kNear, group.lanes);
  // A processor that plays a GPU has its invocations take turns.
  const std::uint32_t most = device.software() ? 128 : kMostInvocations;
  group.count = std::bit_floor(std::max(1u, std::min(most, limits.invocations) / group.lanes));
  while (group.count > 1 && SharedBytes(group, dim) > limits.shared_bytes) group.count /= 2;
  return group;
}

/// Workgroups that share the tokens of a row, in any step with `room` for so many pages of it.
std::uint32_t SplitsFor(std::uint32_t room, std::int32_t window, std::uint32_t split) {
  const std::uint32_t splits = CeilDivide(room * Size(kPageTokens), split);
  return window == 0 ? splits : std::min(splits, Size(window - 1) / split + 2);
}

}  // namespace

DeviceKvCache::DeviceKvCache(std::shared_ptr<Device> device, const KvLayout& layout)
    : KvCache(layout), device_(std::move(device)), id_(NextId()) {
  const std::size_t bytes = layout.bytes_per_page() / 2 / static_cast<std::size_t>(layout.layers) *
                            static_cast<std::size_t>(layout.pages);
  for (std::int32_t part = 0; part < 2 * layout.layers; ++part) {
    parts_.push_back(device_->memory().Allocate(bytes, Place::kDevice));
  }
}

void Attention::Record(Recorder& recorder, const AttentionSpec& spec, const DeviceKvCache& cache,
                       const Step& step, std::span<const RowRange> ranges, const Slice& qkv,
                       const Slice* out, const Count& count) const {
  const bool few_buffers = device_.limits().buffers < kOneBuffers;
  for (const RowRange& range : ranges) {
    if (range.prompt || out == nullptr || few_buffers) {
      RecordPrompt(recorder, spec, cache, step, range, qkv, out, count);
    } else {
      RecordOnes(recorder, spec, cache, step, range, qkv, *out);
    }
  }
}

void Attention::RecordOnes(Recorder& recorder, const AttentionSpec& spec,
                           const DeviceKvCache& cache, const Step& step, const RowRange& range,
                           const Slice& qkv, const Slice& out) const {
  const OneGroup group = OneGroupFor(device_, cache, spec);
  const std::uint32_t dim = cache.padded_dim();
  const std::uint32_t splits = SplitsFor(step.room(), spec.window, group.split());
  // Where a head to a workgroup would make more than can run at once, they share what they read.
  const std::uint32_t busy = device_.software() ? 4 : kBusy;
  const std::uint32_t heads = Size(spec.heads) * splits * range.count <= busy ? 1 : group.heads;
  const std::uint32_t shared_heads = Size(spec.heads / spec.kv_heads);
  const std::uint32_t blocks = Size(spec.kv_heads) * CeilDivide(shared_heads, heads);
  const bool norms = spec.q_norm != nullptr;
  const bool overlaps = device_.overlaps() && range.count == 1;
  const std::uint32_t width = Size(spec.heads * spec.head_dim);
  const std::uint32_t qkv_width = width + Size(2 * spec.kv_heads * spec.head_dim);
  const Slice& frequencies = SliceOf(*spec.inverse_frequencies);
  const Kernel& kernel = device_.GetKernel(
      {group.subgroups ? spirv::attend_one : spirv::attend_one_plain, kOneBuffers - 1,
       1u << 1 | 1u << 2 | 1u << 6 | 1u << 8, sizeof(OneShape), group.subgroups, true, overlaps},
      {group.lanes * group.count, group.lanes, cache.layout().half, norms, spec.softcap > 0,
       Size(spec.window), shared_heads, heads, dim, group.rounds, group.wide,
       overlaps ? device_.patience() : 0});
  const std::size_t row_bytes = std::size_t{blocks} * splits * heads * (dim + 2) * sizeof(float);
  const auto rows_at_once = static_cast<std::uint32_t>(std::max<std::size_t>(
      1, std::min<std::size_t>(ScratchPool::kOwnWords / blocks, kPartialBytes / row_bytes)));
  for (std::uint32_t first = 0; first < range.count; first += rows_at_once) {
    const std::uint32_t rows = std::min(rows_at_once, range.count - first);
    const Slice partial = recorder.Scratch(ScratchPool::kAttention, rows * row_bytes);
    recorder.Dispatch(
        kernel,
        {qkv, cache.Keys(spec.layer), cache.Values(spec.layer), frequencies,
         norms ? SliceOf(*spec.q_norm) : frequencies, norms ? SliceOf(*spec.k_norm) : frequencies,
         out, step.slice(), partial},
        OneShape{range.first + first, Size(spec.kv_heads), Size(spec.head_dim),
                 Size(spec.rotary_dim), step.first_page(range.sequence + first), step.room(),
                 spec.rotary_scale, spec.norm_epsilon, spec.scale, spec.softcap},
        {blocks, splits, rows},
        {.x = RowOf(qkv, range.first, qkv_width), .out = RowOf(out, range.first, width)});
  }
}

void Attention::RecordPrompt(Recorder& recorder, const AttentionSpec& spec,
                             const DeviceKvCache& cache, const Step& step, const RowRange& range,
                             const Slice& qkv, const Slice* out, const Count& count) const {
  // Mesa's software driver ends loops after 65535 rounds in all. With more lanes each has fewer.
  const std::uint32_t lanes = device_.software() ? 128 : 64;
  const bool norms = spec.q_norm != nullptr;
  const Slice& frequencies = SliceOf(*spec.inverse_frequencies);
  const Slice& keys = cache.Keys(spec.layer);
  const Slice& values = cache.Values(spec.layer);
  recorder.Dispatch(
      device_.GetKernel(Rotate(), {cache.layout().half, lanes, norms}),
      {qkv, keys, values, frequencies, norms ? SliceOf(*spec.q_norm) : frequencies,
       norms ? SliceOf(*spec.k_norm) : frequencies, step.slice()},
      RotateShape{range.first, Size(spec.heads), Size(spec.kv_heads), Size(spec.head_dim),
                  cache.padded_dim(), Size(spec.rotary_dim), spec.rotary_scale, spec.norm_epsilon},
      {Size(spec.heads + 2 * spec.kv_heads), range.count});
  if (out == nullptr) return;
  const std::uint32_t subgroups = range.prompt ? MatrixSubgroups(device_, cache) : 0;
  const Limits& limits = device_.limits();
  const std::uint64_t tokens = std::uint64_t{step.room()} * kPageTokens;
  const double row_share =
      4.0 * static_cast<double>(tokens) * spec.heads * spec.head_dim /
      static_cast<double>(subgroups > 0 ? limits.matrix_operations : limits.operations);
  const std::uint32_t tile = std::max(subgroups * 16, 1u);
  const std::uint32_t most_rows = RowsOfPart(row_share, tile);
  for (std::uint32_t done = 0; done < range.count; done += most_rows) {
    const std::uint32_t first = range.first + done;
    const std::uint32_t rows = std::min(most_rows, range.count - done);
    if (subgroups > 0) {
      const std::uint32_t size = limits.subgroup_size;
      const bool uses_subgroups = true;
      recorder.Dispatch(
          device_.GetKernel({spirv::attend_matrix, 5, 1u << 3, sizeof(MatrixShape), uses_subgroups},
                            {subgroups * size, size, cache.padded_dim()}),
          {qkv, keys, values, *out, step.slice()},
          MatrixShape{first, rows, Size(spec.heads), Size(spec.kv_heads), Size(spec.head_dim),
                      Size(spec.window), spec.scale, spec.softcap},
          {Size(spec.heads), CeilDivide(rows, tile)});
    } else {
      recorder.Dispatch(
          device_.GetKernel(Attend(), {cache.layout().half, lanes}),
          {qkv, keys, values, *out, step.slice()},
          AttendShape{first, Size(spec.heads), Size(spec.kv_heads), Size(spec.head_dim),
                      cache.padded_dim(), Size(spec.window), spec.scale, spec.softcap},
          {Size(spec.heads), rows});
    }
    count(row_share * rows);
  }
}

}  // namespace mlc::vulkan
