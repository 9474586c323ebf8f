#version 460
// Lists the tokens that a row's query asks for; see runtime/shortlist.h. Each workgroup looks at 16
// blocks, and finds out by itself where the list ends: a block has at least one token as great as
// its maximum, so that the n best are no less than the n-th greatest maximum.
#define STEP_BINDING 3
layout(local_size_x_id = 0) in;
#include "reduce.glsl"
#include "step.glsl"

layout(push_constant) uniform Shape {
  uint vocab;
  uint block_size;
  uint blocks;  // at most 1024
  uint capacity;
};
layout(std430, set = 0, binding = 0) readonly buffer Logits { float logits[]; };
layout(std430, set = 0, binding = 1) readonly buffer Partials { vec2 partials[]; };
layout(std430, set = 0, binding = 2) buffer Answers { uint answers[]; };

const float kInfinity = 1.0 / 0.0;

shared float maxima[1024];
shared float least;
shared float lane_sums[gl_WorkGroupSize.x];
shared uint drawn_block;
shared float rest;

// Finds the block in which `share` of the sum lies.
void Draw(uint row, float share, float greatest, float coldness) {
  uint lane = gl_LocalInvocationID.x;
  uint each = (blocks + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;
  float sum = 0.0;
  for (uint b = lane * each; b < min((lane + 1) * each, blocks); ++b) {
    vec2 partial = partials[row * blocks + b];
    sum += partial.y * exp((partial.x - greatest) * coldness);
  }
  lane_sums[lane] = sum;
  barrier();
  if (lane != 0) return;
  float total = 0.0;
  for (uint i = 0; i < gl_WorkGroupSize.x; ++i) total += lane_sums[i];
  float left = share * total;
  uint first = 0;
  while (first + 1 < gl_WorkGroupSize.x && left >= lane_sums[first]) {
    left -= lane_sums[first];
    ++first;
  }
  drawn_block = min(first * each, blocks - 1);
  rest = left;
  for (uint b = first * each; b < min((first + 1) * each, blocks); ++b) {
    vec2 partial = partials[row * blocks + b];
    float weight = partial.y * exp((partial.x - greatest) * coldness);
    if (weight > 0.0) {
      drawn_block = b;
      rest = left;
    }
    if (left < weight) break;
    left -= weight;
  }
}

uint Before(uint c, uint b) {
  return uint(c < blocks && (maxima[c] > maxima[b] || (maxima[c] == maxima[b] && c < b)));
}

void main() {
  uint row = gl_WorkGroupID.y;
  uint lane = gl_LocalInvocationID.x;
  uint lanes = gl_WorkGroupSize.x;
  float coldness = uintBitsToFloat(StepQuery(row, 0));
  uint wanted = StepQuery(row, 1);
  float share = uintBitsToFloat(StepQuery(row, 2));
  uint answer = row * (8 + 2 * capacity);

  float greatest = -kInfinity;
  for (uint b = lane; b < blocks; b += lanes) {
    maxima[b] = partials[row * blocks + b].x;
    greatest = max(greatest, maxima[b]);
  }
  if (lane == 0) least = -kInfinity;
  greatest = MaximumOfGroup(greatest);
  float sum = 0.0;
  for (uint b = lane; b < blocks; b += lanes) {
    if (maxima[b] > -kInfinity) {
      sum += partials[row * blocks + b].y * exp((maxima[b] - greatest) * coldness);
    }
    if (share >= 0.0 || wanted > blocks) continue;
    // Four at a time: Mesa's software driver leaves nested loops after 65535 rounds.
    uint rank = 0;
    for (uint c = 0; c < blocks; c += 4) {
      rank += Before(c, b) + Before(c + 1, b) + Before(c + 2, b) + Before(c + 3, b);
    }
    if (rank == wanted - 1) least = maxima[b];
  }
  sum = SumOfGroup(sum);
  bool finite = greatest > -kInfinity && greatest < kInfinity;
  if (share >= 0.0 && finite) Draw(row, share, greatest, coldness);
  barrier();
  if (gl_WorkGroupID.x == 0 && lane == 0) {
    answers[answer + 1] = floatBitsToUint(greatest);
    answers[answer + 2] = floatBitsToUint(sum);
    answers[answer + 3] = floatBitsToUint(least);
    answers[answer + 4] = floatBitsToUint(rest);
  }
  if (!finite) return;
  for (uint b = gl_WorkGroupID.x * 16; b < min(gl_WorkGroupID.x * 16 + 16, blocks); ++b) {
    if (share >= 0.0 ? b != drawn_block : maxima[b] < least) continue;
    uint begin = b * block_size;
    uint end = min(begin + block_size, vocab);
    for (uint i = begin + lane; i < end; i += lanes) {
      float logit = logits[row * vocab + i];
      if (share < 0.0 && logit < least) continue;
      uint slot = atomicAdd(answers[answer], 1u);
      if (slot < capacity) {
        answers[answer + 8 + 2 * slot] = floatBitsToUint(logit);
        answers[answer + 8 + 2 * slot + 1] = i;
      }
    }
  }
}
