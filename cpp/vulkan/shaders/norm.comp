#version 460
// out = x / sqrt(mean(x^2) + epsilon) * weight, or added to what is there. A workgroup to a row.
layout(local_size_x_id = 1) in;
#include "reduce.glsl"

layout(constant_id = 0) const bool adds = false;

layout(push_constant) uniform Shape {
  uint width;
  float epsilon;
};
layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) readonly buffer Weight { float weight[]; };
layout(std430, set = 0, binding = 2) buffer Output { float result[]; };

void main() {
  uint first = gl_WorkGroupID.x * width;
  float squares = 0.0;
  for (uint i = gl_LocalInvocationID.x; i < width; i += gl_WorkGroupSize.x) {
    squares += x[first + i] * x[first + i];
  }
  float factor = 1.0 / sqrt(SumOfGroup(squares) / float(width) + epsilon);
  for (uint i = gl_LocalInvocationID.x; i < width; i += gl_WorkGroupSize.x) {
    float normed = x[first + i] * factor * weight[i];
    result[first + i] = adds ? result[first + i] + normed : normed;
  }
}
