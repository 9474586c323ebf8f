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

/// A weight matrix on a device, in parts that a binding can show. Layout: shaders/weight.glsl.
struct DeviceMatrix final : mlc::Matrix {
  struct Part {
    std::uint32_t first_row = 0;
    std::uint32_t rows = 0;
    Allocation values, scales;  ///< no scales unless quantized
  };

  const Slice& ScalesOf(const Part& part) const {
    return scaled ? part.scales.slice() : part.values.slice();
  }

  Encoding encoding{};
  bool scaled = false;
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
};

/// Products with weight matrices, by the kernels that suit the device.
class MatMul {
 public:
  explicit MatMul(Device& device) : device_(device) {}

  std::unique_ptr<DeviceMatrix> Load(const MatrixView& view, bool paired, Uploader& uploader) const;

  /// Records `product` for the rows of `ranges`.
  void Record(Recorder& recorder, const Product& product, std::span<const RowRange> ranges) const;

 private:
  Device& device_;
};

}  // namespace mlc::vulkan
