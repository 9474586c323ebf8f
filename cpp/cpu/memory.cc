#include "cpu/memory.h"

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace mlc::cpu {

// The address that std::calloc gave is kept before the aligned memory.
void FreeMemory::operator()(void* memory) const { std::free(static_cast<void**>(memory)[-1]); }

Floats AllocateZeros(std::size_t bytes) {
  constexpr std::size_t kLine = 64;
  void* const memory = bytes < SIZE_MAX - 2 * kLine ? std::calloc(bytes + 2 * kLine, 1) : nullptr;
  if (memory == nullptr) {
    throw std::runtime_error("The system has no " + std::to_string(bytes >> 20) +
                             " MiB of memory for the model's state.");
  }
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  auto* const aligned = static_cast<char*>(memory) + (2 * kLine - address % kLine);
  reinterpret_cast<void**>(aligned)[-1] = memory;
  return Floats(reinterpret_cast<float*>(aligned));
}

CpuKvCache::CpuKvCache(const KvLayout& layout)
    : KvCache(layout),
      head_stride_(static_cast<std::size_t>(padded_dim()) * kPageTokens),
      page_stride_(head_stride_ * static_cast<std::size_t>(layout.kv_heads)),
      memory_(AllocateZeros(layout.bytes_per_page() * static_cast<std::size_t>(layout.pages))) {}

void* CpuKvCache::At(std::int32_t part, std::int32_t kv_head) const {
  const std::size_t offset =
      static_cast<std::size_t>(part) * static_cast<std::size_t>(layout().pages) * page_stride_ +
      static_cast<std::size_t>(kv_head) * head_stride_;
  return reinterpret_cast<char*>(memory_.get()) + offset * (layout().half ? 2 : 4);
}

}  // namespace mlc::cpu
