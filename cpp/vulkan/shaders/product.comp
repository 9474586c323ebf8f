#version 460
// out[row, n] = epilogue(norm(x[row]) . weight[n] + bias[n]), one workgroup to a value.
layout(local_size_x_id = 1) in;
#include "reduce.glsl"
#include "weight.glsl"

layout(constant_id = 2) const bool has_norm = false;
layout(constant_id = 3) const bool has_bias = false;
layout(constant_id = 4) const uint epilogue = 0;    // Epilogue of matmul.h
layout(constant_id = 5) const uint activation = 0;  // mlc::Activation

layout(push_constant) uniform Shape {
  uint first_out;  // of this part of the matrix
  uint part_rows;
  uint cols;
  uint width;      // of a row of the result
  uint first_row;  // of x and out
  float epsilon;
  float cap;
};
layout(std430, set = 0, binding = 2) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 3) readonly buffer NormWeight { float norm_weight[]; };
layout(std430, set = 0, binding = 4) readonly buffer Bias { float bias[]; };
layout(std430, set = 0, binding = 5) buffer Output { float result[]; };

float Activate(float value) {
  if (activation == 0) return value / (1.0 + exp(-value));
  float y = value * (1.5957691216057308 + 1.5957691216057308 * 0.044715 * value * value);
  return value / (1.0 + exp(-y));
}

void main() {
  uint row = first_row + gl_WorkGroupID.y;
  uint lane = gl_LocalInvocationID.x;
  uint count = epilogue == 2 ? part_rows / 2 : part_rows;
  float factor = 1.0;
  if (has_norm) {
    float squares = 0.0;
    for (uint k = lane; k < cols; k += gl_WorkGroupSize.x) {
      squares += x[row * cols + k] * x[row * cols + k];
    }
    factor = 1.0 / sqrt(SumOfGroup(squares) / float(cols) + epsilon);
  }
  for (uint n = gl_WorkGroupID.x; n < count; n += gl_NumWorkGroups.x) {
    float sum = 0.0;
    float up = 0.0;
    for (uint k = lane; k < cols; k += gl_WorkGroupSize.x) {
      float value = x[row * cols + k];
      if (has_norm) value *= norm_weight[k];
      sum += value * WeightAt(epilogue == 2 ? 2 * n : n, k, cols);
      if (epilogue == 2) up += value * WeightAt(2 * n + 1, k, cols);
    }
    sum = SumOfGroup(sum) * factor;
    if (epilogue == 2) up = SumOfGroup(up) * factor;
    if (has_bias) sum += bias[first_out + n];
    if (epilogue == 2) sum = Activate(sum) * up;
    if (epilogue == 3) sum = cap * tanh(sum / cap);
    uint at = row * width + first_out + n;
    if (epilogue == 1) sum += result[at];
    if (lane == 0) result[at] = sum;
  }
}
