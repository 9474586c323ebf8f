#version 460
// Norms and rotates q and k of qkv in place, and stores k and v in the cache. One workgroup to a
// head of a row.
#define STEP_BINDING 6
layout(local_size_x_id = 1) in;
#include "float16.glsl"
#include "reduce.glsl"
#include "step.glsl"

layout(constant_id = 0) const bool kHalf = false;

layout(constant_id = 2) const bool has_norms = false;

#include "attention.glsl"

layout(push_constant) uniform Shape {
  uint first_row;
  uint heads;
  uint kv_heads;
  uint head_dim;
  uint padded_dim;
  uint rotary_dim;
  float rotary_scale;
  float epsilon;
};
layout(std430, set = 0, binding = 0) buffer Qkv { float qkv[]; };
layout(std430, set = 0, binding = 1) buffer Keys { uint keys[]; };
layout(std430, set = 0, binding = 2) buffer CacheValues { uint cache_values[]; };
layout(std430, set = 0, binding = 3) readonly buffer Frequencies { float frequencies[]; };
layout(std430, set = 0, binding = 4) readonly buffer QNorm { float q_norm[]; };
layout(std430, set = 0, binding = 5) readonly buffer KNorm { float k_norm[]; };

shared float head_values[512];

void main() {
  uint head = gl_WorkGroupID.x;
  uint row = first_row + gl_WorkGroupID.y;
  uint lane = gl_LocalInvocationID.x;
  uint width = (heads + 2 * kv_heads) * head_dim;
  uint first = row * width + head * head_dim;
  uint position = StepPosition(row);

  float squares = 0.0;
  for (uint i = lane; i < head_dim; i += gl_WorkGroupSize.x) {
    head_values[i] = qkv[first + i];
    squares += head_values[i] * head_values[i];
  }
  if (has_norms && head < heads + kv_heads) {
    float factor = 1.0 / sqrt(SumOfGroup(squares) / float(head_dim) + epsilon);
    for (uint i = lane; i < head_dim; i += gl_WorkGroupSize.x) {
      head_values[i] *= factor * (head < heads ? q_norm[i] : k_norm[i]);
    }
  }
  barrier();
  if (head < heads + kv_heads) {
    uint pairs = rotary_dim / 2;
    for (uint i = lane; i < pairs; i += gl_WorkGroupSize.x) {
      vec2 turn = rotary_scale * Rotation(position, frequencies[i]);
      float a = head_values[i];
      float b = head_values[pairs + i];
      head_values[i] = a * turn.x - b * turn.y;
      head_values[pairs + i] = b * turn.x + a * turn.y;
    }
  }
  barrier();
  if (head < heads) {
    for (uint i = lane; i < head_dim; i += gl_WorkGroupSize.x) qkv[first + i] = head_values[i];
    return;
  }
  // [page, kv_head, token, padded_dim]
  bool is_key = head < heads + kv_heads;
  uint kv_head = (head - heads) % kv_heads;
  uint at = ((StepPage(row, position) * kv_heads + kv_head) * 32 + position % 32) * padded_dim;
  uint count = kHalf ? (head_dim + 1) / 2 : head_dim;
  for (uint i = lane; i < count; i += gl_WorkGroupSize.x) {
    uint word;
    if (kHalf) {
      word = PackHalves(head_values[2 * i], 2 * i + 1 < head_dim ? head_values[2 * i + 1] : 0.0);
    } else {
      word = floatBitsToUint(head_values[i]);
    }
    uint index = (kHalf ? at / 2 : at) + i;
    if (is_key) {
      keys[index] = word;
    } else {
      cache_values[index] = word;
    }
  }
}
