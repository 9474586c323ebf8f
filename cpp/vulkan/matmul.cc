#include "vulkan/matmul.h"

#include <algorithm>
#include <cstring>

#include "vulkan/matrix_product.h"
#include "vulkan/matvec.h"
#include "vulkan/tiled_product.h"

namespace mlc::vulkan {
namespace {

constexpr std::size_t kUnitBytes = 16;
constexpr std::uint32_t kTile = 128;  // rows of a prompt, of the largest workgroups

std::size_t Padded(std::size_t bytes) { return (bytes + kUnitBytes - 1) / kUnitBytes * kUnitBytes; }

/// Bytes of one row of values or of scales.
struct RowBytes {
  std::size_t host, device;
};

RowBytes ValueBytes(const MatrixView& view) {
  const auto cols = static_cast<std::size_t>(view.cols);
  if (view.quantized()) {
    const std::size_t bytes = static_cast<std::size_t>(view.groups()) * kUnitBytes;
    return {bytes, bytes};
  }
  const std::size_t bytes = cols * (view.encoding == Encoding::kFloat16 ? 2 : 4);
  return {bytes, Padded(bytes)};
}

RowBytes ScaleBytes(const MatrixView& view) {
  const std::size_t bytes =
      static_cast<std::size_t>(view.groups()) * (view.encoding == Encoding::kQ4Float16 ? 2 : 4);
  return {bytes, bytes};
}

/// Uploads stored rows [first, first + rows) of all, to memory that is made for them.
void UploadRows(Device& device, Uploader& uploader, const void* from, RowBytes row_bytes,
                std::size_t first, std::size_t rows, std::size_t all_rows, bool paired,
                Allocation& memory) {
  const std::size_t from_bytes = row_bytes.host, bytes = row_bytes.device;
  memory = device.memory().Allocate(Padded(bytes * rows), Place::kDevice);
  uploader.Write(memory.slice(), bytes * rows, [&](std::size_t offset, std::span<std::byte> part) {
    while (!part.empty()) {
      const std::size_t stored = first + offset / bytes;
      const std::size_t row = paired ? stored / 2 + stored % 2 * (all_rows / 2) : stored;
      const std::size_t inside = offset % bytes;
      const std::size_t count = std::min(bytes - inside, part.size());
      const std::size_t there = std::min(count, inside < from_bytes ? from_bytes - inside : 0);
      std::memcpy(part.data(), static_cast<const std::byte*>(from) + row * from_bytes + inside,
                  there);
      std::ranges::fill(part.subspan(there, count - there), std::byte{0});
      part = part.subspan(count);
      offset += count;
    }
  });
}

}  // namespace

std::unique_ptr<DeviceMatrix> MatMul::Load(const MatrixView& view, bool paired,
                                           Uploader& uploader) const {
  auto matrix = std::make_unique<DeviceMatrix>();
  matrix->encoding = view.encoding;
  matrix->paired = paired;
  matrix->rows = static_cast<std::uint32_t>(view.rows);
  matrix->cols = static_cast<std::uint32_t>(view.cols);
  const RowBytes values = ValueBytes(view), scales = ScaleBytes(view);
  const Limits& limits = device_.limits();
  const auto rows = static_cast<std::size_t>(view.rows);
  std::size_t most = static_cast<std::size_t>(std::min(limits.buffer_range, limits.allocation)) /
                     256 * 256 / values.device;
  most = std::max<std::size_t>(most / 2 * 2, 2);
  const auto upload = [&](std::size_t first, std::size_t count) {
    DeviceMatrix::Part& part = matrix->parts.emplace_back();
    part.first_row = static_cast<std::uint32_t>(first);
    part.rows = static_cast<std::uint32_t>(count);
    UploadRows(device_, uploader, view.values, values, first, count, rows, paired, part.values);
    if (!view.quantized()) return;
    UploadRows(device_, uploader, view.scales, scales, first, count, rows, paired, part.scales);
  };
  try {
    for (std::size_t first = 0; first < rows; first += most) {
      upload(first, std::min(most, rows - first));
    }
  } catch (...) {
    uploader.Await();  // what was made so far goes now
    throw;
  }
  return matrix;
}

std::uint32_t Product::shader_epilogue() const {
  switch (epilogue) {
    case Epilogue::kStore:
      return bias != nullptr ? 1 : 0;
    case Epilogue::kAdd:
      return 2;
    case Epilogue::kGate:
      return activation == Activation::kSilu ? 3 : 4;
    case Epilogue::kCap:
      break;
  }
  return 5;
}

void RecordParts(Recorder& recorder, const Kernel& kernel, const Product& product,
                 const RowRange& range, const Slice& x, const Slice& norm, const ProductTile& tile,
                 const OverlapRows& rows) {
  const DeviceMatrix& matrix = product.matrix;
  for (const DeviceMatrix::Part& part : matrix.parts) {
    const std::uint32_t blocks = CeilDivide(part.rows, tile.rows);
    const std::uint32_t deep = CeilDivide(blocks, recorder.device().limits().workgroups);
    recorder.Dispatch(
        kernel,
        {part.values.slice(), matrix.ScalesOf(part), x, norm, product.bias_or_any(), product.out},
        ProductShape{.rows = part.rows,
                     .cols = matrix.cols,
                     .columns = range.count,
                     .first_x = range.first,
                     .width = product.width(),
                     .first_out = product.FirstOut(part),
                     .epsilon = product.epsilon,
                     .cap = product.cap},
        {CeilDivide(blocks, deep), CeilDivide(range.count, tile.columns), deep}, rows);
  }
}

std::uint32_t FewRows(const Device& device) {
  // A tile of matmul_tiled.comp takes as long for two rows as for 32; up to 8 rows, matvec.comp
  // reads the weights once.
  return HasMatrixProduct(device) ? 1 : 8;
}

void MatMul::Record(Recorder& recorder, const Product& product, std::span<const RowRange> ranges,
                    const Count& count) const {
  const DeviceMatrix& matrix = product.matrix;
  const bool matrices = matrix.encoding != Encoding::kFloat32 && HasMatrixProduct(device_);
  const Limits& limits = device_.limits();
  for (const RowRange& range : ranges) {
    // Few rows wait for the weights, not for the arithmetic.
    const bool fast = !range.prompt || matrices;
    const double row_share =
        2.0 * matrix.rows * matrix.cols /
        static_cast<double>(fast ? limits.matrix_operations : limits.operations);
    if (!range.prompt) {
      RecordMatvec(recorder, product, range);
      count(row_share * range.count);
      continue;
    }
    const std::uint32_t most_rows = RowsOfPart(row_share, kTile);
    for (std::uint32_t done = 0; done < range.count; done += most_rows) {
      RowRange part = range;
      part.first += done;
      part.count = std::min(most_rows, range.count - done);
      if (matrices) {
        RecordMatrixProduct(recorder, product, part);
      } else {
        RecordTiledProduct(recorder, product, part);
      }
      count(row_share * part.count);
    }
  }
}

}  // namespace mlc::vulkan
