#version 460
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "q4f16_1_matvec.glsl"

// Sized for subgroups of one lane, the smallest that there can be.
shared float partial[rows_per_group * gl_WorkGroupSize.x];

void Reduce() {
  for (uint r = 0; r < rows_per_group; ++r) sums[r] = subgroupAdd(sums[r]);
  if (gl_NumSubgroups == 1) return;

  barrier();  // the last round's results have been read
  if (gl_SubgroupInvocationID == 0) {
    for (uint r = 0; r < rows_per_group; ++r) {
      partial[r * gl_NumSubgroups + gl_SubgroupID] = sums[r];
    }
  }
  barrier();
  if (gl_LocalInvocationID.x == 0) {
    for (uint r = 0; r < rows_per_group; ++r) {
      sums[r] = 0.0;
      for (uint s = 0; s < gl_NumSubgroups; ++s) sums[r] += partial[r * gl_NumSubgroups + s];
    }
  }
}
