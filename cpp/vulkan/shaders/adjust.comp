#version 460
// Adjusts the logits that a row's query names, in place. A workgroup to a row.
#define STEP_BINDING 1
#include "step.glsl"

layout(local_size_x = 64) in;

layout(push_constant) uniform Shape { uint vocab; };
layout(std430, set = 0, binding = 0) buffer Logits { float logits[]; };

void main() {
  uint row = gl_WorkGroupID.x;
  uint first = StepQuery(row, 3);
  uint count = StepQuery(row, 4);
  for (uint i = gl_LocalInvocationID.x; i < count; i += gl_WorkGroupSize.x) {
    uint word = first + 4 * i;
    uint at = row * vocab + step_words[word];
    float repetition = uintBitsToFloat(step_words[word + 2]);
    float logit = logits[at] + uintBitsToFloat(step_words[word + 1]);
    logit = logit > 0.0 ? logit / repetition : logit * repetition;
    logits[at] = logit - uintBitsToFloat(step_words[word + 3]);
  }
}
