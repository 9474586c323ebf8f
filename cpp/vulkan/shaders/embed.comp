#version 460
// out[r] = scale * table[tokens[r]], for tokens in one part of the table. A workgroup to a row.
#define STEP_BINDING 3
#include "step.glsl"
#include "weight.glsl"

layout(local_size_x = 64) in;

layout(push_constant) uniform Shape {
  uint first_row;  // of the part
  uint part_rows;
  uint cols;
  float scale;
};
layout(std430, set = 0, binding = 2) writeonly buffer Output { float result[]; };

void main() {
  uint row = gl_WorkGroupID.x;
  uint token = StepToken(row) - first_row;
  if (token >= part_rows) return;
  for (uint col = gl_LocalInvocationID.x; col < cols; col += gl_WorkGroupSize.x) {
    result[row * cols + col] = WeightAt(token, col, cols) * scale;
  }
}
