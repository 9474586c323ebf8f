#include "vulkan/attention.h"

#include <atomic>
#include <utility>

#include "vulkan/memory.h"
#include "vulkan/shaders/spirv.h"

namespace mlc::vulkan {
namespace {

std::int32_t NextId() {
  static std::atomic<std::int32_t> next = 0;
  return ++next;
}

struct RotateShape {
  std::uint32_t heads, kv_heads, head_dim, padded_dim, rotary_dim;
  float rotary_scale, epsilon;
};

struct AttendShape {
  std::uint32_t heads, kv_heads, head_dim, padded_dim, window;
  float scale, softcap;
};

Program Rotate() { return {spirv::rotate, 7, 7, sizeof(RotateShape)}; }
Program Attend() { return {spirv::attend, 5, 1u << 3, sizeof(AttendShape)}; }

}  // namespace

DeviceKvCache::DeviceKvCache(std::shared_ptr<Device> device, const KvLayout& layout)
    : KvCache(layout), device_(std::move(device)), id_(NextId()) {
  const std::size_t bytes = layout.bytes_per_page() / 2 / static_cast<std::size_t>(layout.layers) *
                            static_cast<std::size_t>(layout.pages);
  for (std::int32_t part = 0; part < 2 * layout.layers; ++part) {
    parts_.push_back(device_->memory().Allocate(bytes, Place::kDevice));
  }
}

std::uint32_t DeviceKvCache::padded_dim() const {
  return static_cast<std::uint32_t>((layout().head_dim + kHeadAlign - 1) / kHeadAlign * kHeadAlign);
}

void Attention::Record(Recorder& recorder, const AttentionSpec& spec, const DeviceKvCache& cache,
                       const Step& step, std::span<const RowRange>, const Slice& qkv,
                       const Slice* out) const {
  const auto size = [](std::int32_t value) { return static_cast<std::uint32_t>(value); };
  const std::uint32_t lanes = device_.software() ? 8 : 64;
  const bool norms = spec.q_norm != nullptr;
  const Slice& frequencies = SliceOf(*spec.inverse_frequencies);
  const Slice& keys = cache.Keys(spec.layer);
  const Slice& values = cache.Values(spec.layer);
  const Kernel& rotate = device_.GetKernel(Rotate(), {cache.layout().half, lanes, norms});
  recorder.Dispatch(
      rotate,
      {qkv, keys, values, frequencies, norms ? SliceOf(*spec.q_norm) : frequencies,
       norms ? SliceOf(*spec.k_norm) : frequencies, step.slice()},
      RotateShape{size(spec.heads), size(spec.kv_heads), size(spec.head_dim), cache.padded_dim(),
                  size(spec.rotary_dim), spec.rotary_scale, spec.norm_epsilon},
      {size(spec.heads + 2 * spec.kv_heads), step.rows()});
  if (out == nullptr) return;
  const Kernel& attend = device_.GetKernel(Attend(), {cache.layout().half, lanes});
  recorder.Dispatch(attend, {qkv, keys, values, *out, step.slice()},
                    AttendShape{size(spec.heads), size(spec.kv_heads), size(spec.head_dim),
                                cache.padded_dim(), size(spec.window), spec.scale, spec.softcap},
                    {size(spec.heads), step.rows()});
}

}  // namespace mlc::vulkan
