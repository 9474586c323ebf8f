#pragma once

#include <cstdint>

// Included by files that are compiled for one instruction set: nothing here, and nothing that they
// include, may define inline functions, or the linker could keep the copy that needs AVX-512.

namespace mlc::cpu {

/// A matrix-vector product of q4f16_1 weights with a prepared input.
///
/// Kernels work on `lanes` words side by side (4 words make a group of 32) and never shift a nibble
/// down to bit 0. They mask it where it is, at bit 4 * (k % 4) of a half word, and the prepared
/// input is divided by that power of two, which is exact:
///
///     x[(b * 8 + i) * lanes + l] = input[8 * (b * lanes + l) + i] / 16^(i % 4)
///
/// for block b, nibble i and lane l, with zeros past the end of the last block.
///
/// Each nibble loses its 7 before the product. Taking 7 * sum(x) off the sums instead is faster,
/// but an outlier in x, even one whose weight is 0, then drowns the rest.
struct Q4F16Kernel {
  int lanes;

  /// out[r] = row r of the weights times x, for r in [0, rows).
  void (*multiply)(const std::uint32_t* words, const std::uint16_t* scales, std::int64_t rows,
                   std::int64_t groups, const float* x, float* out);
};

extern const Q4F16Kernel kPortableKernel;
extern const Q4F16Kernel kAvx2Kernel;
extern const Q4F16Kernel kAvx512Kernel;

}  // namespace mlc::cpu
