#version 460
// Of each block of logits the maximum, and the sum of exp((logit - maximum) / temperature).
#define STEP_BINDING 3
layout(local_size_x_id = 0) in;
#include "reduce.glsl"
#include "step.glsl"

layout(push_constant) uniform Shape {
  uint vocab;
  uint block_size;
  uint blocks;
  uint capacity;
};
layout(std430, set = 0, binding = 0) readonly buffer Logits { float logits[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Partials { vec2 partials[]; };
layout(std430, set = 0, binding = 2) writeonly buffer Answers { uint answers[]; };

const float kInfinity = 1.0 / 0.0;

void main() {
  uint block = gl_WorkGroupID.x;
  uint row = gl_WorkGroupID.y;
  uint lane = gl_LocalInvocationID.x;
  float coldness = uintBitsToFloat(StepQuery(row, 0));
  uint begin = block * block_size;
  uint end = min(begin + block_size, vocab);
  float greatest = -kInfinity;
  for (uint i = begin + lane; i < end; i += gl_WorkGroupSize.x) {
    float logit = logits[row * vocab + i];
    // No number counts as infinite: either is an error.
    bool number = (floatBitsToUint(logit) & 0x7fffffffu) <= 0x7f800000u;
    greatest = max(greatest, number ? logit : kInfinity);
  }
  greatest = MaximumOfGroup(greatest);
  float sum = 0.0;
  if (greatest > -kInfinity && greatest < kInfinity) {
    for (uint i = begin + lane; i < end; i += gl_WorkGroupSize.x) {
      sum += exp((logits[row * vocab + i] - greatest) * coldness);
    }
  }
  sum = SumOfGroup(sum);
  if (lane != 0) return;
  partials[row * blocks + block] = vec2(greatest, sum);
  if (block == 0) answers[row * (8 + 2 * capacity)] = 0;  // tokens in the list
}
