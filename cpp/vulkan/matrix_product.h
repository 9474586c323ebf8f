#pragma once

#include "vulkan/matmul.h"
#include "vulkan/ranges.h"
#include "vulkan/recorder.h"

namespace mlc::vulkan {

/// Whether the device has the cooperative matrices of shaders/matmul_matrix.comp.
bool HasMatrixProduct(const Device& device);

/// Records `product` for the rows of a prompt by cooperative matrices: x becomes float16, sums are
/// float32, taken in the order of K however many rows there are.
void RecordMatrixProduct(Recorder& recorder, const Product& product, const RowRange& range);

}  // namespace mlc::vulkan
