#version 460
// Causal attention of one head of one row over the cache, softmax online. A workgroup to each.
#define STEP_BINDING 4
layout(local_size_x_id = 1) in;
#include "capped.glsl"
#include "float16.glsl"
#include "reduce.glsl"
#include "step.glsl"

layout(constant_id = 0) const bool half_cache = false;

layout(push_constant) uniform Shape {
  uint first_row;
  uint heads;
  uint kv_heads;
  uint head_dim;
  uint padded_dim;
  uint window;
  float scale;
  float softcap;
};
layout(std430, set = 0, binding = 0) readonly buffer Qkv { float qkv[]; };
layout(std430, set = 0, binding = 1) readonly buffer Keys { uint keys[]; };
layout(std430, set = 0, binding = 2) readonly buffer CacheValues { uint cache_values[]; };
layout(std430, set = 0, binding = 3) writeonly buffer Output { float result[]; };

shared float q[512];
shared float weighted[512];
shared float weights[gl_WorkGroupSize.x];
shared uint places[gl_WorkGroupSize.x];

float Key(uint index) {
  return half_cache ? HalfOf(keys[index >> 1], index) : uintBitsToFloat(keys[index]);
}

float Value(uint index) {
  return half_cache ? HalfOf(cache_values[index >> 1], index)
                    : uintBitsToFloat(cache_values[index]);
}

void main() {
  uint head = gl_WorkGroupID.x;
  uint row = first_row + gl_WorkGroupID.y;
  uint lane = gl_LocalInvocationID.x;
  uint kv_head = head / (heads / kv_heads);
  uint first = (row * (heads + 2 * kv_heads) + head) * head_dim;
  for (uint i = lane; i < head_dim; i += gl_WorkGroupSize.x) {
    q[i] = qkv[first + i] * scale;
    weighted[i] = 0.0;
  }
  uint end = StepPosition(row) + 1;
  uint begin = window == 0 || end < window ? 0 : end - window;
  float greatest = -1.0 / 0.0;
  float total = 0.0;
  for (uint block = begin; block < end; block += gl_WorkGroupSize.x) {
    barrier();
    uint token = block + lane;
    bool seen = token >= begin && token < end;
    float score = -1.0 / 0.0;
    if (seen) {
      places[lane] = ((StepPage(row, token) * kv_heads + kv_head) * 32 + token % 32) * padded_dim;
      score = 0.0;
      for (uint i = 0; i < head_dim; ++i) score += q[i] * Key(places[lane] + i);
      if (softcap > 0.0) score = Capped(score, softcap);
    }
    float now = max(greatest, MaximumOfGroup(score));
    float keep = exp(greatest - now);
    weights[lane] = seen ? exp(score - now) : 0.0;
    total = total * keep + SumOfGroup(weights[lane]);
    greatest = now;
    for (uint i = lane; i < head_dim; i += gl_WorkGroupSize.x) {
      float sum = weighted[i] * keep;
      for (uint t = 0; t < gl_WorkGroupSize.x; ++t) {
        if (weights[t] > 0.0) sum += weights[t] * Value(places[t] + i);
      }
      weighted[i] = sum;
    }
  }
  for (uint i = lane; i < head_dim; i += gl_WorkGroupSize.x) {
    result[(row * heads + head) * head_dim + i] = weighted[i] / total;
  }
}
