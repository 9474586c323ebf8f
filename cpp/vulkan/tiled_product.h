#pragma once

#include "vulkan/matmul.h"
#include "vulkan/ranges.h"
#include "vulkan/recorder.h"

namespace mlc::vulkan {

/// Records `product` for the rows of a prompt by shaders/matmul_tiled.comp, which every device can
/// run. Sums are float32, taken in the order of K however many rows there are.
void RecordTiledProduct(Recorder& recorder, const Product& product, const RowRange& range);

}  // namespace mlc::vulkan
