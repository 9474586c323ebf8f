#include "vulkan/matvec.h"

#include <algorithm>
#include <bit>

#include "vulkan/shaders/spirv.h"

namespace mlc::vulkan {
namespace {

constexpr std::uint32_t kMostColumns = 8;
constexpr std::uint32_t kMostInvocations = 512;
// So many values of x take long to stage: more invocations share that, and fewer workgroups do it.
// They stage at least 16 bytes each at a time. So it is where a workgroup has a processor to
// itself.
constexpr std::uint32_t kLong = 8192, kLongBytes = 32768;
constexpr std::uint32_t kMostBlocks = 64;

struct StageShape {
  std::uint32_t cols, first_x;
};

/// Who computes: what the order of sums depends on, so it is the same for all products with a
/// matrix.
struct Group {
  bool subgroups = false;   ///< its lanes are subgroups of the device
  std::uint32_t lanes = 0;  ///< that walk along K side by side
  std::uint32_t count = 0;  ///< of such lane groups in a workgroup
  std::uint32_t span = 0;   ///< of them to a row
  std::uint32_t wide() const { return lanes * span; }

  /// Fewer of the same: sums over a row of the matrix keep their order, those of squares do not.
  Group AtMost(std::uint32_t invocations) const {
    Group fewer = *this;
    fewer.count = std::min(count, std::max(span, invocations / lanes));
    return fewer;
  }
};

/// What a workgroup computes at a time.
struct Tile {
  std::uint32_t rows = 0, columns = 0, piece = 0, blocks = 1;
};

Group GroupFor(const Device& device, const DeviceMatrix& matrix) {
  const Features& features = device.features();
  const Limits& limits = device.limits();
  Group group;
  group.subgroups = features.subgroup_shuffle && limits.subgroup_size >= 4 &&
                    (!matrix.quantized() || features.dot_product);
  group.lanes = group.subgroups ? limits.subgroup_size : 32;
  const bool large =
      (matrix.cols > kLong || device.overlaps()) && limits.shared_bytes >= kLongBytes;
  // A processor that plays a GPU has its invocations take turns: two lane groups, to be tested.
  const std::uint32_t most =
      device.software() ? 2 * group.lanes : (large ? 2 : 1) * kMostInvocations;
  group.count = std::bit_floor(std::max(1u, std::min(most, limits.invocations) / group.lanes));
  group.span = group.count > 1 && matrix.units() > group.lanes ? 2 : 1;
  return group;
}

/// Bytes of shared memory that matvec.comp takes.
std::uint32_t SharedBytes(const DeviceMatrix& matrix, const Group& group, const Tile& tile) {
  const std::uint32_t vectors = matrix.quantized() ? 4 : matrix.unit_values() / 4;
  const std::uint32_t padded = (tile.piece + 7) / 8 * 8 + (matrix.quantized() ? 2 : 4);
  const std::uint32_t staged = tile.columns * vectors * padded * 16;
  const std::uint32_t scales = matrix.quantized() ? tile.columns * tile.piece * 8 : 0;
  const std::uint32_t sums = (tile.blocks * tile.rows * tile.columns + 1) * group.count * 4;
  return staged + scales + sums + (group.subgroups ? 0 : group.lanes * group.count * 4);
}

/// Gives `tile` the largest piece that fits, and fewer columns where none does.
void Fit(const Device& device, const DeviceMatrix& matrix, const Group& group, Tile& tile) {
  for (; tile.columns > 1; tile.columns /= 2) {
    tile.piece = std::min(matrix.units(), group.wide());
    if (SharedBytes(matrix, group, tile) <= device.limits().shared_bytes) break;
  }
  // Where one row of x is staged in pieces, its squares are added as if it were in one.
  const std::uint32_t vectors = matrix.quantized() ? 4 : matrix.unit_values() / 4;
  const std::uint32_t even = tile.columns == 1 ? group.lanes * group.count / vectors : 0;
  const std::uint32_t step = std::max(group.wide(), even);
  tile.piece = matrix.units();
  while (tile.piece > step && SharedBytes(matrix, group, tile) > device.limits().shared_bytes) {
    tile.piece = (tile.piece - 1) / step * step;
  }
}

/// Gives `tile` as many blocks as let each processor have one workgroup, or smaller blocks where
/// half of the processors would have none.
void Share(const Device& device, const DeviceMatrix& matrix, const Group& group, bool gate,
           Tile& tile) {
  const auto count_blocks = [&] {
    const std::uint32_t rows = group.count / group.span * tile.rows;
    return CeilDivide(matrix.parts.front().rows, rows);
  };
  if (!gate && count_blocks() * 2 <= device.limits().processors) tile.rows = 1;
  tile.blocks = std::min(CeilDivide(count_blocks(), device.limits().processors), kMostBlocks);
  while (SharedBytes(matrix, group, tile) > device.limits().shared_bytes) --tile.blocks;
}

Program ProgramFor(const DeviceMatrix& matrix, const Group& group, bool overlaps) {
  const auto& module = matrix.quantized()
                           ? (group.subgroups ? spirv::matvec_q4 : spirv::matvec_q4_plain)
                           : (group.subgroups ? spirv::matvec_float : spirv::matvec_float_plain);
  const bool board = true;
  return {module,          kProductBuffers, kProductWritten, sizeof(ProductShape),
          group.subgroups, board,           overlaps};
}

/// What shaders/matvec.comp takes in the place of x and of the norm.
struct Staged {
  Slice x, scales;
};

/// Records shaders/stage.comp for the rows of `range`.
Staged RecordStage(Recorder& recorder, const Product& product, const RowRange& range,
                   const Group& group) {
  const DeviceMatrix& matrix = product.matrix;
  const bool quantized = matrix.quantized();
  const std::uint32_t row_bytes = quantized ? matrix.units() * 64 : CeilDivide(matrix.cols, 4) * 16;
  const std::size_t bytes = CeilDivide(range.count * row_bytes, 256) * std::size_t{256};
  const std::size_t scales = range.count * (quantized ? matrix.units() + 1 : 1) * std::size_t{8};
  const Slice memory = recorder.Scratch(ScratchPool::kMatMul, bytes + scales);
  const Staged staged{memory.Part(0, bytes), memory.Part(bytes, scales)};
  recorder.Dispatch(
      recorder.device().GetKernel({spirv::stage, 4, 3, sizeof(StageShape)},
                                  {group.lanes * group.count, group.lanes, matrix.units(),
                                   quantized, product.norm != nullptr, matrix.cols % 4 == 0}),
      {staged.x, staged.scales, product.x, product.norm_or_any()},
      StageShape{matrix.cols, range.first}, {range.count});
  return staged;
}

OverlapRows OverlapRowsOf(const Product& product, std::uint32_t row) {
  const Slice out = RowOf(product.out, row, product.width());
  return {.x = RowOf(product.x, row, product.matrix.cols),
          .addend = product.epilogue == Epilogue::kAdd ? out : Slice{},
          .out = product.awaited ? out : Slice{}};
}

}  // namespace

void RecordMatvec(Recorder& recorder, const Product& product, const RowRange& range) {
  Device& device = recorder.device();
  const DeviceMatrix& matrix = product.matrix;
  const Group staging = GroupFor(device, matrix);
  Tile tile{.columns = std::bit_ceil(std::min(range.count, kMostColumns))};
  tile.rows = tile.columns > 1 ? 4 : 2;
  // Sums of several columns take the registers of half of the invocations.
  const Group group = tile.columns > 1 ? staging.AtMost(kMostInvocations) : staging;
  Fit(device, matrix, group, tile);
  const bool overlaps = device.overlaps() && range.count == 1 && matrix.parts.size() == 1;
  if (overlaps && tile.piece == matrix.units()) Share(device, matrix, group, product.gate(), tile);
  // Who asks early while another dispatch runs has less to wait for, and registers are few.
  const std::uint32_t ahead = tile.columns == 1 && matrix.quantized() != overlaps ? 2 : 1;
  const bool norm = product.norm != nullptr;
  const bool prepared = tile.columns > 1 && (matrix.quantized() || norm);
  Staged in{product.x, product.norm_or_any()};
  if (prepared) in = RecordStage(recorder, product, range, staging);
  const bool whole = std::ranges::all_of(
      matrix.parts, [&](const DeviceMatrix::Part& part) { return part.rows % tile.rows == 0; });
  const bool aligned = prepared || matrix.cols % 4 == 0;
  const Kernel& kernel = device.GetKernel(
      ProgramFor(matrix, group, overlaps),
      {group.lanes * group.count, group.lanes, group.span, tile.rows, tile.columns, matrix.units(),
       tile.piece, static_cast<std::uint32_t>(matrix.encoding), product.shader_epilogue(), norm,
       aligned, prepared, ahead, overlaps ? device.patience() : 0, tile.blocks, whole});
  RecordParts(recorder, kernel, product, range, in.x, in.scales,
              {group.count / group.span * tile.rows * tile.blocks, tile.columns},
              OverlapRowsOf(product, range.first));
}

}  // namespace mlc::vulkan
