#include "vulkan/matrix_product.h"

#include <algorithm>

#include "vulkan/shaders/spirv.h"

namespace mlc::vulkan {
namespace {

constexpr std::uint32_t kSide = 16;     // of a cooperative matrix
constexpr std::uint32_t kColumns = 64;  // of x and W that are in shared memory at a time

struct PrepareShape {
  std::uint32_t cols, stride, first_x;
  float epsilon;
};

struct Shape {
  std::uint32_t rows, stride, columns, first_row, width, first_out;
  float cap;
};

/// Rows of x and rows of W: of a workgroup, and of one of its subgroups.
struct Tile {
  std::uint32_t m, n, part_m, part_n;

  std::uint32_t subgroups() const { return m / part_m * (n / part_n); }
  std::uint32_t shared_bytes() const {
    return (m + n) * (kColumns / 8 + 1) * 16 + subgroups() * kSide * kSide * 4;
  }
};
constexpr Tile kWide{128, 128, 64, 32}, kMiddle{64, 64, 32, 32}, kFlat{32, 64, 16, 32};
constexpr std::uint32_t kEnoughTiles = 70;  // for a large GPU

bool Fits(const Device& device, const Tile& tile) {
  return tile.shared_bytes() <= device.limits().shared_bytes &&
         tile.subgroups() * device.limits().subgroup_size <= device.limits().invocations;
}

Tile TileFor(const Device& device, const DeviceMatrix& matrix, std::uint32_t rows) {
  const std::uint32_t tiles = CeilDivide(matrix.rows, kWide.n) * CeilDivide(rows, kWide.m);
  if (tiles >= kEnoughTiles && rows > kMiddle.m && Fits(device, kWide)) return kWide;
  return rows > kFlat.m ? kMiddle : kFlat;
}

}  // namespace

bool HasMatrixProduct(const Device& device) {
  const Capabilities& capabilities = device.physical().capabilities;
  return capabilities.features.cooperative_matrix && capabilities.features.float16 &&
         Fits(device, kMiddle) && std::ranges::any_of(capabilities.matrices, [](const auto& shape) {
           return shape.MSize == kSide && shape.NSize == kSide && shape.KSize == kSide &&
                  shape.AType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
                  shape.BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
                  shape.CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
                  shape.ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
                  shape.scope == VK_SCOPE_SUBGROUP_KHR;
         });
}

void RecordMatrixProduct(Recorder& recorder, const Product& product, const RowRange& range) {
  Device& device = recorder.device();
  const DeviceMatrix& matrix = product.matrix;
  const std::uint32_t stride = CeilDivide(matrix.cols, kColumns) * kColumns;
  const std::uint32_t lanes = device.limits().subgroup_size;

  const Slice x = recorder.Scratch(ScratchPool::kMatMul, std::size_t{range.count} * stride * 2);
  recorder.Dispatch(device.GetKernel({spirv::prepare, 3, 1u << 2, sizeof(PrepareShape)},
                                     {128, product.norm != nullptr, matrix.quantized()}),
                    {product.x, product.norm_or_any(), x},
                    PrepareShape{matrix.cols, stride, range.first, product.epsilon}, {range.count});

  const Tile tile = TileFor(device, matrix, range.count);
  const auto& module = matrix.quantized() ? spirv::matmul_matrix_q4 : spirv::matmul_matrix_f16;
  const bool uses_subgroups = true;
  const Kernel& kernel = device.GetKernel(
      {module, 5, 1u << 4, sizeof(Shape), uses_subgroups},
      {lanes * tile.subgroups(), lanes, tile.m, tile.n, kColumns, tile.part_m, tile.part_n,
       matrix.units(), static_cast<std::uint32_t>(matrix.encoding), product.shader_epilogue()});
  for (const DeviceMatrix::Part& part : matrix.parts) {
    const std::uint32_t blocks = CeilDivide(part.rows, tile.n);
    const std::uint32_t deep = CeilDivide(blocks, device.limits().workgroups);
    recorder.Dispatch(
        kernel, {part.values.slice(), matrix.ScalesOf(part), x, product.bias_or_any(), product.out},
        Shape{.rows = part.rows,
              .stride = stride,
              .columns = range.count,
              .first_row = range.first,
              .width = product.width(),
              .first_out = product.FirstOut(part),
              .cap = product.cap},
        {CeilDivide(blocks, deep), CeilDivide(range.count, tile.m), deep});
  }
}

}  // namespace mlc::vulkan
