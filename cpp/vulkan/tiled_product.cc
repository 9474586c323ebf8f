#include "vulkan/tiled_product.h"

#include "vulkan/shaders/spirv.h"

namespace mlc::vulkan {

void RecordTiledProduct(Recorder& recorder, const Product& product, const RowRange& range) {
  const DeviceMatrix& matrix = product.matrix;
  const ProductTile tile{.rows = 64, .columns = range.count > 32 ? 64u : 32u};
  const Kernel& kernel = recorder.device().GetKernel(
      {spirv::matmul_tiled, kProductBuffers, kProductWritten, sizeof(ProductShape)},
      {tile.columns, matrix.units(), static_cast<std::uint32_t>(matrix.encoding),
       product.shader_epilogue(), product.norm != nullptr, matrix.cols % 4 == 0});
  RecordParts(recorder, kernel, product, range, product.x, product.norm_or_any(), tile, {});
}

}  // namespace mlc::vulkan
