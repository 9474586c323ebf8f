#pragma once

#include <cstdint>
#include <span>

/// The SPIR-V modules of this directory; embed.cmake writes their definitions.
namespace mlc::vulkan::spirv {

extern const std::span<const std::uint32_t> q4f16_1_matvec;
extern const std::span<const std::uint32_t> q4f16_1_matvec_subgroup;

}  // namespace mlc::vulkan::spirv
