#pragma once

#include "vulkan/matmul.h"
#include "vulkan/ranges.h"
#include "vulkan/recorder.h"

namespace mlc::vulkan {

/// Records `product` for the rows of `range` by shaders/matvec.comp: up to 8 of them at a time.
/// Each row's sums are taken in the same order, however many there are.
void RecordMatvec(Recorder& recorder, const Product& product, const RowRange& range);

}  // namespace mlc::vulkan
