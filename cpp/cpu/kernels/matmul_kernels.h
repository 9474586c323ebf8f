#pragma once

#include <cstdint>

#include "runtime/matrix.h"

// Included by files that are compiled for one instruction set: nothing here, and nothing that they
// include, may define functions that are inline outside that file, or the linker could keep the
// copy that needs AVX-512.

namespace mlc::cpu {

/// Rows of x as int8, in the order in which a byte of a quantized weight holds two values.
struct QuantizedRows {
  std::int64_t groups = 0;          ///< in a row, whole blocks of them; zeros fill the last block
  std::int8_t* values = nullptr;    ///< [rows, blocks, even k or odd k, groups of a block, 16]
  float* scales = nullptr;          ///< [rows, groups]
  std::int32_t* offsets = nullptr;  ///< [rows, groups], 7 * (sum of the group's values)
};

/// One product: MatMul's arguments, and x quantized where the matrix is.
struct Product {
  const void* values = nullptr;  ///< of MatrixView, as are the next four
  const void* scales = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t groups = 0;
  const float* bias = nullptr;
  const float* x = nullptr;
  std::int64_t x_rows = 0;
  QuantizedRows quantized;
  float* out = nullptr;
};

/// Rows of the matrix that kernels may take together.
inline constexpr std::int64_t kPanel = 16;

/// A group of x whose values are all smaller gets the scale 0: 127 / limit would overflow.
inline constexpr float kSmallestLimit = 0x1p-120f;

/// Quantizes row `row` of product.x into product.quantized. Each group's scale is max|x| / 127; NaN
/// or infinity in a group make it so too.
using QuantizeFunction = void (*)(const Product& product, std::int64_t row);

/// Computes columns [begin, end) of the result, for all rows of x; `begin` is a multiple of kPanel.
using MultiplyFunction = void (*)(const Product& product, std::int64_t begin, std::int64_t end);

/// The kernels of one instruction set, by encoding of the matrix.
struct MatMulKernels {
  std::int64_t block_groups;  ///< of QuantizedRows
  QuantizeFunction quantize;
  MultiplyFunction float32, float16, q4_float16, q4_float32;
};

extern const MatMulKernels kPortableMatMul;
extern const MatMulKernels kAvx2MatMul;
extern const MatMulKernels kAvxVnniMatMul;
extern const MatMulKernels kAvx512MatMul;
extern const MatMulKernels kNeonMatMul;
extern const MatMulKernels kNeonDotprodMatMul;

/// Those of ChooseIsa().
const MatMulKernels& ChooseMatMulKernels();

}  // namespace mlc::cpu
