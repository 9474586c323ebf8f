#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "cpu/kernels/matmul_kernels.h"

// Only for the files that compile *.inc.h for one instruction set: see matmul_kernels.h.

namespace mlc::cpu {
namespace {

/// 32 values of x: the even ones go to values[0, 16), the odd ones to values[distance, +16).
inline void QuantizeGroup(const float* x, std::int8_t* values, std::int64_t distance, float* scale,
                          std::int32_t* offset) {
  float32x4_t input[8];
  float32x4_t largest = vdupq_n_f32(0);  // NaN if one is
  for (int i = 0; i < 8; ++i) {
    input[i] = vld1q_f32(x + 4 * i);
    largest = vmaxq_f32(largest, vabsq_f32(input[i]));
  }
  const float limit = vmaxvq_f32(largest);
  const bool tiny = limit < kSmallestLimit;
  const float inverse = tiny ? 0 : 127 / limit;
  int32x4_t integers[8];  // zeros where the limit is infinite or NaN
  int32x4_t sum = vdupq_n_s32(0);
  for (int i = 0; i < 8; ++i) {
    integers[i] = vcvtnq_s32_f32(vmulq_n_f32(input[i], inverse));
    sum = vaddq_s32(sum, integers[i]);
  }
  *scale = tiny ? 0 : limit / 127;
  *offset = 7 * vaddvq_s32(sum);

  const auto narrow = [](const int32x4_t* four) {
    const int16x8_t low = vcombine_s16(vmovn_s32(four[0]), vmovn_s32(four[1]));
    const int16x8_t high = vcombine_s16(vmovn_s32(four[2]), vmovn_s32(four[3]));
    return vcombine_s8(vmovn_s16(low), vmovn_s16(high));
  };
  const int8x16_t first = narrow(integers), last = narrow(integers + 4);
  vst1q_s8(values, vuzp1q_s8(first, last));
  vst1q_s8(values + distance, vuzp2q_s8(first, last));
}

}  // namespace
}  // namespace mlc::cpu
