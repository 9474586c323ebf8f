#version 460
// out[i] = x[logit_rows[i]], a workgroup to a row.
#define STEP_BINDING 2
#include "step.glsl"

layout(local_size_x = 64) in;

layout(push_constant) uniform Shape { uint width; };
layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Output { float result[]; };

void main() {
  uint row = gl_WorkGroupID.x;
  uint from = StepLogitRow(row) * width;
  for (uint i = gl_LocalInvocationID.x; i < width; i += gl_WorkGroupSize.x) {
    result[row * width + i] = x[from + i];
  }
}
