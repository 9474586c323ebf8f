#pragma once

#include <cstdint>

namespace mlc::vulkan {

/// Rows [first, first + count) of a step that are computed by kernels of one kind: those of prompts
/// together, those of sequences with few rows one by one. A row's bits depend on its kind.
struct RowRange {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  bool prompt = false;
  std::uint32_t sequence = 0;  ///< that of the first row, in the step
};

}  // namespace mlc::vulkan
