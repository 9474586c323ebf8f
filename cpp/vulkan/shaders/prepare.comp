#version 460
#extension GL_GOOGLE_include_directive : require
// Rows of x, normed where that is asked, as float16 for cooperative matrices: [row, stride], zeros
// behind the last column. A workgroup to a row.
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool kNorm = false;
layout(constant_id = 2) const bool kPaired = false;  // of 8 values: 0, 4, 1, 5, 2, 6, 3, 7

#include "float16.glsl"
#include "reduce.glsl"

layout(push_constant) uniform Shape {
  uint cols;
  uint stride;  // a multiple of 8
  uint first_x;
  float epsilon;
};
layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) readonly buffer Norm { float norm[]; };
layout(std430, set = 0, binding = 2) writeonly buffer Output { uvec4 result[]; };

void main() {
  uint row = gl_WorkGroupID.x;
  uint first = (first_x + row) * cols;
  float factor = 1.0;
  if (kNorm) {
    float square = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < cols; i += gl_WorkGroupSize.x) {
      square += x[first + i] * x[first + i];
    }
    factor = 1.0 / sqrt(SumOfGroup(square) / float(cols) + epsilon);
  }
  for (uint i = gl_LocalInvocationID.x; 8 * i < stride; i += gl_WorkGroupSize.x) {
    float values[8];
    for (uint k = 0; k < 8; ++k) {
      uint col = 8 * i + k;
      float value = col < cols ? x[first + col] * factor : 0.0;
      if (kNorm && col < cols) value *= norm[col];
      values[k] = clamp(value, -65504.0, 65504.0);
    }
    uvec4 halves;
    for (uint k = 0; k < 4; ++k) {
      halves[k] = kPaired ? PackHalves(values[k], values[k + 4])
                          : PackHalves(values[2 * k], values[2 * k + 1]);
    }
    result[row * (stride / 8) + i] = halves;
  }
}
