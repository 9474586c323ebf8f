#version 460
#include "q4f16_1_matvec.glsl"

// For devices without subgroup arithmetic. The workgroup's size is a power of two.
shared float partial[rows_per_group * gl_WorkGroupSize.x];

void Reduce() {
  uint lane = gl_LocalInvocationID.x;
  uint size = gl_WorkGroupSize.x;
  barrier();  // the last round's results have been read
  for (uint r = 0; r < rows_per_group; ++r) partial[r * size + lane] = sums[r];
  for (uint half_size = size / 2; half_size > 0; half_size /= 2) {
    barrier();
    if (lane < half_size) {
      for (uint r = 0; r < rows_per_group; ++r) {
        partial[r * size + lane] += partial[r * size + lane + half_size];
      }
    }
  }
  if (lane == 0) {
    for (uint r = 0; r < rows_per_group; ++r) sums[r] = partial[r * size];
  }
}
