#pragma once

// Rows of a 4-bit matrix, for kernels in terms of Integers.

#include <cstdint>

#include "cpu/kernels/matmul_kernels.h"
#include "cpu/kernels/prefetch.h"

namespace mlc::cpu::q4 {
namespace {

constexpr int kGroups = Integers::kGroups;
constexpr int kBlockGroups = 8;  // two cache lines of nibbles, half a one of scales
constexpr int kBlockVectors = kBlockGroups / kGroups;

/// `count` rows of a matrix, kBlockGroups groups at a time.
template <typename Scale, int count>
class Rows {
 public:
  const std::uint8_t* bytes[count];  ///< of the block that Seek has found
  const Scale* scales[count];

  /// Rows past the last read as the last.
  Rows(const Product& product, std::int64_t row) : groups_(product.groups) {
    for (int i = 0; i < count; ++i) {
      const std::int64_t n = row + i < product.rows ? row + i : product.rows - 1;
      first_bytes_[i] = static_cast<const std::uint8_t*>(product.values) + n * groups_ * 16;
      first_scales_[i] = static_cast<const Scale*>(product.scales) + n * groups_;
    }
  }

  void Seek(std::int64_t group) {
    for (int i = 0; i < count; ++i) {
      bytes[i] = first_bytes_[i] + group * 16;
      scales[i] = first_scales_[i] + group;
    }
    if (groups_ - group < kBlockGroups) Pad(groups_ - group);
  }

  /// Asks memory for the same block of the `count` rows after these: a row is short, memory is far.
  void PrefetchNext(std::int64_t group) const {
    constexpr std::int64_t kLineScales = 64 / sizeof(Scale);
    for (int i = 0; i < count; ++i) {
      const std::uint8_t* next = first_bytes_[i] + (group + count * groups_) * 16;
      PrefetchOnce(next);
      PrefetchOnce(next + 64);
      if (group % kLineScales == 0) PrefetchOnce(first_scales_[i] + group + count * groups_);
    }
  }

 private:
  /// Zeros after the `left` groups at the end of the rows.
  void Pad(std::int64_t left) {
    for (int i = 0; i < count; ++i) {
      for (std::int64_t byte = 0; byte < kBlockGroups * 16; ++byte) {
        last_bytes_[i][byte] = byte < left * 16 ? bytes[i][byte] : std::uint8_t{0};
      }
      for (std::int64_t group = 0; group < kBlockGroups; ++group) {
        last_scales_[i][group] = group < left ? scales[i][group] : Scale{0};
      }
      bytes[i] = last_bytes_[i];
      scales[i] = last_scales_[i];
    }
  }

  std::int64_t groups_;
  const std::uint8_t* first_bytes_[count];
  const Scale* first_scales_[count];
  std::uint8_t last_bytes_[count][kBlockGroups * 16];
  Scale last_scales_[count][kBlockGroups];
};

using mlc::cpu::Add;
inline float Add(float a, float b) { return a + b; }

/// The sum of kGroups vectors or numbers, by halves: the order that both kernels have in common.
template <typename Number>
inline Number AddHalves(Number (&numbers)[kGroups]) {
  for (int half = kGroups / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) numbers[i] = Add(numbers[i], numbers[i + half]);
  }
  return numbers[0];
}

}  // namespace
}  // namespace mlc::cpu::q4
