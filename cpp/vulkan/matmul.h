#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/backend.h"
#include "vulkan/ranges.h"
#include "vulkan/recorder.h"
#include "vulkan/upload.h"

namespace mlc::vulkan {

/// A weight matrix on a device, in parts that a binding can show. Rows are padded to units of 16
/// bytes; the rest of the layout is MatrixView's.
struct DeviceMatrix final : mlc::Matrix {
  struct Part {
    std::uint32_t first_row = 0;
    std::uint32_t rows = 0;
    Allocation values, scales;  ///< no scales unless quantized
  };

  const Slice& ScalesOf(const Part& part) const {
    return quantized() ? part.scales.slice() : part.values.slice();
  }

  bool quantized() const { return encoding >= Encoding::kQ4Float16; }

  /// Values in a unit.
  std::uint32_t unit_values() const {
    if (quantized()) return 32;
    return encoding == Encoding::kFloat16 ? 8 : 4;
  }

  std::uint32_t units() const { return (cols + unit_values() - 1) / unit_values(); }  ///< of a row

  Encoding encoding{};
  bool paired = false;  ///< row i is stored at 2 * i, row rows / 2 + i at 2 * i + 1
  std::uint32_t rows = 0, cols = 0;
  std::vector<Part> parts;
};

/// What happens to each value of a product.
enum class Epilogue : std::uint32_t {
  kStore,
  kAdd,   ///< added to what is there
  kGate,  ///< of a paired matrix: activation(row i) * row (rows / 2 + i)
  kCap,   ///< cap * tanh(value / cap)
};

/// out[r] = epilogue(norm(x[r]) * matrix^T + bias)
struct Product {
  const DeviceMatrix& matrix;
  Slice x, out;
  const Slice* norm = nullptr;  ///< weight of an RMS norm of x, or none
  float epsilon = 0;
  const Slice* bias = nullptr;
  Epilogue epilogue = Epilogue::kStore;
  Activation activation = Activation::kSilu;
  float cap = 0;
  bool awaited = false;  ///< by what comes next, which may overlap with it

  bool gate() const { return epilogue == Epilogue::kGate; }
  std::uint32_t width() const { return gate() ? matrix.rows / 2 : matrix.rows; }
  std::uint32_t FirstOut(const DeviceMatrix::Part& part) const {
    return gate() ? part.first_row / 2 : part.first_row;
  }
  const Slice& norm_or_any() const { return norm != nullptr ? *norm : x; }
  const Slice& bias_or_any() const { return bias != nullptr ? *bias : x; }
  std::uint32_t shader_epilogue() const;  ///< the number in shaders/epilogue.glsl
};

/// The arguments of the kernels that include shaders/product.glsl.
struct ProductShape {
  std::uint32_t rows, cols, columns, first_x, width, first_out;
  float epsilon, cap;
};
inline constexpr std::uint32_t kProductBuffers = 6, kProductWritten = 1u << 5;

/// Rows of a matrix, and rows of x, that a workgroup takes.
struct ProductTile {
  std::uint32_t rows, columns;
};

/// Records such a kernel for every part of the matrix; `x` and `norm` are the product's, or what
/// was made of them. `rows` are for a kernel that overlaps.
void RecordParts(Recorder& recorder, const Kernel& kernel, const Product& product,
                 const RowRange& range, const Slice& x, const Slice& norm, const ProductTile& tile,
                 const OverlapRows& rows);

/// Most rows of a sequence, in one step, that are multiplied one by one: more are a prompt.
std::uint32_t FewRows(const Device& device);

/// Products with weight matrices, by the kernels that suit the device.
class MatMul {
 public:
  explicit MatMul(Device& device) : device_(device) {}

  std::unique_ptr<DeviceMatrix> Load(const MatrixView& view, bool paired, Uploader& uploader) const;

  /// Records `product` for the rows of `ranges`: prompts tile by tile, by cooperative matrices
  /// where the device has them; all else by matrix-vector products, which read the matrix once for
  /// up to 8 rows.
  void Record(Recorder& recorder, const Product& product, std::span<const RowRange> ranges,
              const Count& count) const;

 private:
  Device& device_;
};

}  // namespace mlc::vulkan
