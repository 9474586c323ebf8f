#version 460
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
// Attention of rows that are alone in their sequence: q and k are normed and rotated, k and v go to
// the cache, and q attends to all that is there.
//
// A workgroup takes a row, up to kHeads query heads that share a key head, and kSplit tokens,
// counted from the first of the sequence. Each of its lane groups attends to kTokens of these by
// itself, and what is new counts as one more. The last workgroup of those that share a row and
// heads merges what they found, in the order of the tokens.
//
// All of it is latency: memory is asked for as early as its address is known, and registers hold
// what has been asked for.
#define STEP_BINDING 7

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint kLanes = 32;  // at least kNear
layout(constant_id = 2) const bool kHalf = false;
layout(constant_id = 3) const bool kNorms = false;
layout(constant_id = 4) const bool kCapped = false;
layout(constant_id = 5) const uint kWindow = 0;  // or none
layout(constant_id = 6) const uint kShared = 4;  // query heads that share a key head
layout(constant_id = 7) const uint kHeads = 2;
layout(constant_id = 8) const uint kDim = 64;    // padded: a multiple of 16
layout(constant_id = 9) const uint kRounds = 4;  // keys of an invocation
layout(constant_id = 10) const uint kWide = 16;  // lanes that share the values of a token; >= kNear
layout(constant_id = 11) const uint kPatience = 0;  // of overlap.glsl: looks at a result
#define BOARD 9

#include "attention.glsl"
#include "capped.glsl"
#include "float16.glsl"
#include "lanes.glsl"
#include "overlap.glsl"
#include "step.glsl"

layout(push_constant) uniform Shape {
  uint first_row;
  uint kv_heads;
  uint head_dim;
  uint rotary_dim;
  uint first_page;  // of the first row, in the step's words
  uint room;        // for pages of each row
  float rotary_scale;
  float epsilon;
  float scale;
  float softcap;
  Overlap overlap;
};
layout(std430, set = 0, binding = 0) readonly buffer Qkv { float qkv[]; };
layout(std430, set = 0, binding = 1) buffer Keys { uvec4 keys[]; };
layout(std430, set = 0, binding = 1) buffer KeyWords { uint key_words[]; };
layout(std430, set = 0, binding = 2) buffer ValueHalves { uvec2 value_halves[]; };
layout(std430, set = 0, binding = 2) buffer ValueFloats { uvec4 value_floats[]; };
layout(std430, set = 0, binding = 2) buffer ValueWords { uint value_words[]; };
layout(std430, set = 0, binding = 3) readonly buffer Frequencies { float frequencies[]; };
layout(std430, set = 0, binding = 4) readonly buffer QNorm { float q_norm[]; };
layout(std430, set = 0, binding = 5) readonly buffer KNorm { float k_norm[]; };
layout(std430, set = 0, binding = 6) writeonly buffer Output { float result[]; };
layout(std430, set = 0, binding = 8) coherent buffer Partial { float partial[]; };
layout(std430, set = 0, binding = BOARD) coherent buffer Counters { uint counters[]; };

const float kLeast = -3.0e38;  // the score of nothing
const uint kTotal = gl_WorkGroupSize.x;
const uint kGroups = kTotal / kLanes;
const uint kNear = 8;  // lanes that share the key of a token; attention.cc
const uint kTokens = kRounds * (kLanes / kNear);  // of a lane group; at most 32, of one page
const uint kSplit = kTokens * kGroups;
const uint kBlocks = (kShared + kHeads - 1) / kHeads;  // workgroups that share a key head

// An invocation holds units of 16 bytes of keys, and of values four dimensions at a time, of so
// many tokens.
const uint kUnits = kDim / (kHalf ? 8 : 4);
const uint kUnitsEach = (kUnits + kNear - 1) / kNear;
const uint kFours = kDim / 4;
const uint kFoursEach = (kFours + kWide - 1) / kWide;
const uint kValues = kRounds * kWide / kNear;
uvec4 held_keys[kRounds * kUnitsEach];
uvec4 held_values[kValues * kFoursEach];

// What each lane group found: its tokens' weights, their greatest score, and what comes of these.
shared float weights[kGroups * kHeads * kTokens];
shared float greatest[kHeads * kGroups];
shared float totals[kHeads * kGroups];
shared vec4 sums[kGroups * kHeads * kFours];
shared uint order;

uint lane_id = gl_LocalInvocationID.x;
uint row, position, begin;        // the sequence's tokens from begin on are attended to
uint kv_head, first_head, count;  // of the row's heads

float AddProduct(vec4 a, vec4 b, float sum) {
  return fma(a.x, b.x, fma(a.y, b.y, fma(a.z, b.z, fma(a.w, b.w, sum))));
}

float Cap(float score) { return kCapped ? Capped(score, softcap) : score; }

#include "attend_new.glsl"

bool InCache(uint token) { return token - begin < position - begin; }

// StepPage without reading where the row's pages are; any number for tokens that it does not have.
uint PageOf(uint token) {
  return step_words[first_page + gl_WorkGroupID.z * room + min(token / 32, room - 1)];
}

// The part of a row of `parts` that is a lane's; without one of its own it takes the last.
uint PartOf(uint lane, uint parts, uint lanes) {
  return parts % lanes == 0 ? lane : min(lane, parts - 1);
}

// Of those tokens of the lane group whose values an invocation holds, the first.
uint FirstValue() { return Lane() / kWide * kValues; }

// Asks for the lane group's keys and values.
void Hold(uint first_token, uint page) {
  uint page_word = TokenWord(page, kv_heads, kv_head, 0, kDim);
  uint first = page_word / 4 + (first_token % 32 + Lane() / kNear) * kUnits;
  [[unroll]] for (uint i = 0; i < kRounds; ++i) {
    [[unroll]] for (uint j = 0; j < kUnitsEach; ++j) {
      uint unit = PartOf(j * kNear + Lane() % kNear, kUnits, kNear);
      held_keys[i * kUnitsEach + j] = keys[first + i * (kLanes / kNear) * kUnits + unit];
    }
  }
  first = page_word / (kHalf ? 2 : 4) + (first_token % 32 + FirstValue()) * kFours;
  [[unroll]] for (uint i = 0; i < kValues; ++i) {
    [[unroll]] for (uint j = 0; j < kFoursEach; ++j) {
      uint at = first + i * kFours + PartOf(j * kWide + Lane() % kWide, kFours, kWide);
      if (kHalf) {
        held_values[i * kFoursEach + j].xy = value_halves[at];
      } else {
        held_values[i * kFoursEach + j] = value_floats[at];
      }
    }
  }
}

// Makes weights of the keys that the lane group holds.
void WeighKeys(uint first_token) {
  float scores[kHeads * kRounds];
  [[unroll]] for (uint i = 0; i < kHeads * kRounds; ++i)
    scores[i] = 0.0;
  [[unroll]] for (uint j = 0; j < kUnitsEach; ++j) {
    uint unit = j * kNear + Lane() % kNear;
    [[unroll]] for (uint head = 0; head < kHeads; ++head) {
      vec4 q[2];
      [[unroll]] for (uint k = 0; k < 2; ++k) {
        uint at = Place(head, kHalf ? 2 * unit + k : unit);
        q[k] = kUnits % kNear == 0 || unit < kUnits ? fresh[at] : vec4(0.0);
      }
      [[unroll]] for (uint i = 0; i < kRounds; ++i) {
        uvec4 key = held_keys[i * kUnitsEach + j];
        float sum = scores[head * kRounds + i];
        if (kHalf) {
          sum = AddProduct(vec4(unpackHalf2x16(key.x), unpackHalf2x16(key.y)), q[0], sum);
          sum = AddProduct(vec4(unpackHalf2x16(key.z), unpackHalf2x16(key.w)), q[1], sum);
        } else {
          sum = AddProduct(uintBitsToFloat(key), q[0], sum);
        }
        scores[head * kRounds + i] = sum;
      }
    }
  }
  float most[kHeads], total[kHeads];
  [[unroll]] for (uint head = 0; head < kHeads; ++head) {
    most[head] = kLeast;
    [[unroll]] for (uint i = 0; i < kRounds; ++i) {
      float sum = scores[head * kRounds + i];
      FLIPS for (uint k = 0; k < 3; ++k) sum += FlipLanes(sum, 1u << k);
      bool there = InCache(first_token + i * (kLanes / kNear) + Lane() / kNear);
      scores[head * kRounds + i] = there ? Cap(sum) : kLeast;
      most[head] = max(most[head], scores[head * kRounds + i]);
    }
    FLIPS for (uint k = 3; k < 7; ++k) {
      if (1u << k < kLanes) most[head] = max(most[head], FlipLanes(most[head], 1u << k));
    }
    total[head] = 0.0;
    [[unroll]] for (uint i = 0; i < kRounds; ++i) {
      float score = scores[head * kRounds + i];
      scores[head * kRounds + i] = score > kLeast ? exp(score - most[head]) : 0.0;
      total[head] += scores[head * kRounds + i];
    }
    FLIPS for (uint k = 3; k < 7; ++k) {
      if (1u << k < kLanes) total[head] += FlipLanes(total[head], 1u << k);
    }
  }
  if (Lane() % kNear == 0) {
    [[unroll]] for (uint i = 0; i < kHeads * kRounds; ++i) {
      uint first = (LaneGroup() * kHeads + i / kRounds) * kTokens;
      weights[first + i % kRounds * (kLanes / kNear) + Lane() / kNear] = scores[i];
    }
  }
  if (Lane() == 0) {
    [[unroll]] for (uint head = 0; head < kHeads; ++head) {
      greatest[head * kGroups + LaneGroup()] = most[head];
      totals[head * kGroups + LaneGroup()] = total[head];
    }
  }
  SyncLanes();
}

// Adds up the values that the lane group holds, by weight.
void AddValues(uint first_token) {
  float weight[kHeads * kValues];
  [[unroll]] for (uint i = 0; i < kHeads * kValues; ++i) {
    uint first = (LaneGroup() * kHeads + i / kValues) * kTokens;
    weight[i] = weights[first + FirstValue() + i % kValues];
  }
  vec4 sum[kHeads * kFoursEach];
  [[unroll]] for (uint i = 0; i < kHeads * kFoursEach; ++i)
    sum[i] = vec4(0.0);
  [[unroll]] for (uint i = 0; i < kValues; ++i) {
    bool there = InCache(first_token + FirstValue() + i);  // else anything may be there
    [[unroll]] for (uint j = 0; j < kFoursEach; ++j) {
      uvec4 word = there ? held_values[i * kFoursEach + j] : uvec4(0);
      vec4 value =
          kHalf ? vec4(unpackHalf2x16(word.x), unpackHalf2x16(word.y)) : uintBitsToFloat(word);
      [[unroll]] for (uint head = 0; head < kHeads; ++head) {
        uint at = head * kFoursEach + j;
        sum[at] = fma(vec4(weight[head * kValues + i]), value, sum[at]);
      }
    }
  }
  [[unroll]] for (uint i = 0; i < kHeads * kFoursEach; ++i) {
    FLIPS for (uint k = 3; k < 7; ++k) {
      if (1u << k < kWide || 1u << k >= kLanes) continue;
      sum[i] += vec4(FlipLanes(sum[i].x, 1u << k), FlipLanes(sum[i].y, 1u << k),
                     FlipLanes(sum[i].z, 1u << k), FlipLanes(sum[i].w, 1u << k));
    }
    uint four = i % kFoursEach * kWide + Lane();
    if (Lane() < kWide && four < kFours) {
      sums[(LaneGroup() * kHeads + i / kFoursEach) * kFours + four] = sum[i];
    }
  }
}

// The result of a lane group without tokens in the cache.
void FindNothing() {
  [[unroll]] for (uint head = 0; head < kHeads; ++head) {
    greatest[head * kGroups + LaneGroup()] = kLeast;
    totals[head * kGroups + LaneGroup()] = 0.0;
    for (uint i = Lane(); i < kFours; i += kLanes) {
      sums[(LaneGroup() * kHeads + head) * kFours + i] = vec4(0.0);
    }
  }
}

void Finish(uint head, uint at, float value) {
  if (at >= head_dim) return;
  uint place = (first_head + head) * head_dim + at;
  Post(overlap, place, value);
  result[row * kShared * kv_heads * head_dim + place] = value;
}

void main() {
  row = first_row + gl_WorkGroupID.z;
  position = StepPosition(row);
  kv_head = gl_WorkGroupID.x / kBlocks;
  first_head = gl_WorkGroupID.x % kBlocks * kHeads;
  count = min(kHeads, kShared - first_head);
  first_head += kv_head * kShared;
  AskForNew(Turn());

  // Without a window this does not wait for the position.
  begin = kWindow == 0 || position + 1 < kWindow ? 0 : position + 1 - kWindow;
  uint first_split = begin / kSplit, split = first_split + gl_WorkGroupID.y;
  uint first_token = split * kSplit + LaneGroup() * kTokens;
  uint page = PageOf(first_token);

  uint last_split = position / kSplit;
  if (split > last_split) return;
  bool attends = first_token < position && first_token + kTokens > begin;
  if (attends) Hold(first_token, page);
#ifndef SUBGROUP
  attends = true;  // all do, or lanes could not exchange values
#endif
  uint new_page = PageOf(position);

  [[unroll]] for (uint i = 0; i < (kHeads + 2 + kGroups - 1) / kGroups; ++i) {
    if (i > 0) AskForNew(i * kGroups + Turn());
    AwaitNew(i * kGroups + Turn());
    Rotate(i * kGroups + Turn());
  }
  barrier();
  ScoreFresh(split == last_split);
  if (split == last_split) Store(new_page);
  if (attends) {
    WeighKeys(first_token);
    AddValues(first_token);
  } else {
    FindNothing();
  }
  barrier();

  uint splits = last_split - first_split + 1;
  uint place = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * gl_NumWorkGroups.y;
  const uint stride = kHeads * (kDim + 2);  // of a split in `partial`
  for (uint i = lane_id; i < count * kDim; i += kTotal) {
    uint head = i / kDim, at = i % kDim;
    float most = fresh_scores[head];
    [[unroll]] for (uint g = 0; g < kGroups; ++g)
      most = max(most, greatest[head * kGroups + g]);
    float total = exp(fresh_scores[head] - most);
    float sum = total * fresh[Place(kHeads + 1, at / 4)][at % 4];
    [[unroll]] for (uint g = 0; g < kGroups; ++g) {
      float take = exp(greatest[head * kGroups + g] - most);
      total = fma(take, totals[head * kGroups + g], total);
      sum = fma(take, sums[(g * kHeads + head) * kFours + at / 4][at % 4], sum);
    }
    if (splits == 1) {
      Finish(head, at, sum / total);
    } else {
      uint to = (place + gl_WorkGroupID.y) * stride + head * (kDim + 2);
      partial[to + at] = sum;
      if (at == 0) {
        partial[to + kDim] = most;
        partial[to + kDim + 1] = total;
      }
    }
  }
  if (splits == 1) return;

  // One invocation fences for all, as fences over the device are slow: the barrier puts what the
  // others wrote before its fence, and the next one puts what they read behind it.
  controlBarrier(gl_ScopeWorkgroup, gl_ScopeWorkgroup, gl_StorageSemanticsBuffer,
                 gl_SemanticsAcquireRelease);
  // The last counters are zero between dispatches.
  uint counter = counters.length() - 1 - gl_WorkGroupID.z * gl_NumWorkGroups.x - gl_WorkGroupID.x;
  if (lane_id == 0) {
    memoryBarrierBuffer();
    order = atomicAdd(counters[counter], 1);
    memoryBarrierBuffer();
    if (order + 1 == splits) counters[counter] = 0;  // for the next time
  }
  controlBarrier(gl_ScopeWorkgroup, gl_ScopeWorkgroup,
                 gl_StorageSemanticsBuffer | gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
  if (order + 1 < splits) return;
  for (uint i = lane_id; i < count * kDim; i += kTotal) {
    uint head = i / kDim, at = i % kDim;
    float most = kLeast, total = 0.0, sum = 0.0;
    for (uint s0 = 0; s0 < splits; s0 += 4) {
      float maxima[4], totals_there[4], sums_there[4];  // all are asked for at once
      [[unroll]] for (uint s = 0; s < 4; ++s) {
        uint from = (place + min(s0 + s, splits - 1)) * stride + head * (kDim + 2);
        maxima[s] = partial[from + kDim];
        totals_there[s] = partial[from + kDim + 1];
        sums_there[s] = partial[from + at];
      }
      [[unroll]] for (uint s = 0; s < 4; ++s) {
        if (s0 + s >= splits) break;
        float now = max(most, maxima[s]);
        float keep = exp(most - now), take = exp(maxima[s] - now);
        total = fma(total, keep, totals_there[s] * take);
        sum = fma(sum, keep, sums_there[s] * take);
        most = now;
      }
    }
    Finish(head, at, sum / total);
  }
}
