#include "vulkan/matmul.h"

#include <algorithm>
#include <cstring>

#include "vulkan/shaders/spirv.h"

namespace mlc::vulkan {
namespace {

struct Shape {
  std::uint32_t first_out, part_rows, cols, width, first_row;
  float epsilon, cap;
};

Program Multiply() { return {spirv::product, 6, 1u << 5, sizeof(Shape)}; }

/// Bytes of one row of values, and of scales.
struct RowBytes {
  std::size_t values, scales;
};

RowBytes BytesOf(const MatrixView& view) {
  const auto cols = static_cast<std::size_t>(view.cols);
  const auto groups = static_cast<std::size_t>(view.groups());
  switch (view.encoding) {
    case Encoding::kFloat32:
      return {cols * 4, 0};
    case Encoding::kFloat16:
      return {cols * 2, 0};
    case Encoding::kQ4Float16:
      return {groups * 16, groups * 2};
    case Encoding::kQ4Float32:
      break;
  }
  return {groups * 16, groups * 4};
}

/// Uploads stored rows [first, first + rows), each `bytes` long in the host's memory.
Allocation UploadRows(Device& device, Uploader& uploader, const void* from, std::size_t bytes,
                      std::size_t first, std::size_t rows, std::size_t all_rows, bool paired) {
  Allocation memory = device.memory().Allocate(bytes * rows, Place::kDevice);
  uploader.Write(memory.slice(), bytes * rows, [&](std::size_t offset, std::span<std::byte> part) {
    while (!part.empty()) {
      const std::size_t stored = first + offset / bytes;
      const std::size_t row = paired ? stored / 2 + stored % 2 * (all_rows / 2) : stored;
      const std::size_t inside = offset % bytes;
      const std::size_t count = std::min(bytes - inside, part.size());
      std::memcpy(part.data(), static_cast<const std::byte*>(from) + row * bytes + inside, count);
      part = part.subspan(count);
      offset += count;
    }
  });
  return memory;
}

}  // namespace

std::unique_ptr<DeviceMatrix> MatMul::Load(const MatrixView& view, bool paired,
                                           Uploader& uploader) const {
  auto matrix = std::make_unique<DeviceMatrix>();
  matrix->encoding = view.encoding;
  matrix->scaled = view.quantized();
  matrix->paired = paired;
  matrix->rows = static_cast<std::uint32_t>(view.rows);
  matrix->cols = static_cast<std::uint32_t>(view.cols);
  const RowBytes bytes = BytesOf(view);
  const Limits& limits = device_.limits();
  const auto rows = static_cast<std::size_t>(view.rows);
  std::size_t most = static_cast<std::size_t>(std::min(limits.buffer_range, limits.allocation)) /
                     256 * 256 / std::max(bytes.values, bytes.scales);
  most = std::max<std::size_t>(most / 2 * 2, 2);
  for (std::size_t first = 0; first < rows; first += most) {
    const std::size_t count = std::min(most, rows - first);
    DeviceMatrix::Part& part = matrix->parts.emplace_back();
    part.first_row = static_cast<std::uint32_t>(first);
    part.rows = static_cast<std::uint32_t>(count);
    part.values =
        UploadRows(device_, uploader, view.values, bytes.values, first, count, rows, paired);
    if (!matrix->scaled) continue;
    part.scales =
        UploadRows(device_, uploader, view.scales, bytes.scales, first, count, rows, paired);
  }
  return matrix;
}

void MatMul::Record(Recorder& recorder, const Product& product,
                    std::span<const RowRange> ranges) const {
  const DeviceMatrix& matrix = product.matrix;
  const bool gate = product.epilogue == Epilogue::kGate;
  const Kernel& kernel = device_.GetKernel(
      Multiply(), {static_cast<std::uint32_t>(matrix.encoding), device_.software() ? 8u : 64u,
                   product.norm != nullptr, product.bias != nullptr,
                   static_cast<std::uint32_t>(product.epilogue),
                   static_cast<std::uint32_t>(product.activation)});
  for (const RowRange& range : ranges) {
    for (const DeviceMatrix::Part& part : matrix.parts) {
      const std::uint32_t values = gate ? part.rows / 2 : part.rows;
      const Shape shape{.first_out = gate ? part.first_row / 2 : part.first_row,
                        .part_rows = part.rows,
                        .cols = matrix.cols,
                        .width = gate ? matrix.rows / 2 : matrix.rows,
                        .first_row = range.first,
                        .epsilon = product.epsilon,
                        .cap = product.cap};
      recorder.Dispatch(kernel,
                        {part.values.slice(), matrix.ScalesOf(part), product.x,
                         product.norm != nullptr ? *product.norm : product.x,
                         product.bias != nullptr ? *product.bias : product.x, product.out},
                        shape, {std::min(values, device_.limits().workgroups), range.count});
    }
  }
}

}  // namespace mlc::vulkan
