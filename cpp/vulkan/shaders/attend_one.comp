#version 460
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
// Attention of rows that are alone in their sequence: q and k are normed and rotated, k and v go to
// the cache, and q attends to all that is there.
//
// A workgroup takes a row, up to kHeads query heads that share a key head, and kSplit tokens,
// counted from the first of the sequence. The last workgroup of those that share a row and heads
// merges what they found, in the order of the tokens.
#define STEP_BINDING 7

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint kLanes = 32;
layout(constant_id = 2) const bool kHalf = false;
layout(constant_id = 3) const bool kNorms = false;
layout(constant_id = 4) const uint kHeads = 4;
layout(constant_id = 5) const uint kDim = 64;  // padded: a multiple of 16
layout(constant_id = 6) const bool kHeld = false;

const uint kSplit = 64;  // attention.cc

#include "attention.glsl"
#include "float16.glsl"
#include "lanes.glsl"
#include "step.glsl"

layout(push_constant) uniform Shape {
  uint first_row;
  uint heads;
  uint kv_heads;
  uint head_dim;
  uint rotary_dim;
  uint window;
  float rotary_scale;
  float epsilon;
  float scale;
  float softcap;
};
layout(std430, set = 0, binding = 0) readonly buffer Qkv { float qkv[]; };
layout(std430, set = 0, binding = 1) buffer Keys { uvec4 keys[]; };
layout(std430, set = 0, binding = 1) buffer KeyWords { uint key_words[]; };
layout(std430, set = 0, binding = 2) buffer CacheValues { uvec2 value_pairs[]; };
layout(std430, set = 0, binding = 2) buffer ValueWords { uint value_words[]; };
layout(std430, set = 0, binding = 3) readonly buffer Frequencies { float frequencies[]; };
layout(std430, set = 0, binding = 4) readonly buffer QNorm { float q_norm[]; };
layout(std430, set = 0, binding = 5) readonly buffer KNorm { float k_norm[]; };
layout(std430, set = 0, binding = 6) writeonly buffer Output { float result[]; };
layout(std430, set = 0, binding = 8) coherent buffer Partial { float partial[]; };
layout(std430, set = 0, binding = 9) coherent buffer Done { uint done[]; };

const uint kTotal = gl_WorkGroupSize.x;
const uint kGroups = kTotal / kLanes;
// What is new, q of each head and then k: first as it is, then normed and rotated.
shared float fresh[(kHeads + 1) * kDim];
shared float fresh_value[kDim];
shared float weights[kHeads * kSplit];
shared float greatest[kHeads];
shared float totals[kHeads];
shared uint order;

uint lane_id = gl_LocalInvocationID.x;

// With kHeld, each invocation asks for the keys of its token and the values of its pair of
// dimensions before all else: the cache then answers while q is rotated.
uvec4 held_keys[kDim / 8];
uint held_values[kSplit];

// `words` are those of the pages of the split's tokens.
void Hold(uvec2 words, uint first_token, uint position) {
  uint token = min(lane_id % kSplit, position - first_token);  // later ones are not there yet
  uint word = words[token / 32] + token % 32 * (kDim / 2);
  [[unroll]] for (uint i = 0; i < kDim / 8; ++i)
    held_keys[i] = keys[word / 4 + i];
  uint pair = lane_id % (kDim / 2);
  [[unroll]] for (uint t = 0; t < kSplit; ++t) {
    held_values[t] = value_words[words[t / 32] + t % 32 * (kDim / 2) + pair];
  }
}

// Norms and rotates `fresh`, a lane group to a head.
void Rotate(uint position, uint first_head, bool with_key) {
  const uint count = kHeads + 1;
  for (uint block = 0; block < count; block += kGroups) {
    uint head = block + LaneGroup();
    bool is_key = head == kHeads;
    bool used = head < count && (!is_key || with_key);
    uint first = min(head, kHeads) * kDim;
    float factor = 1.0;
    if (kNorms) {
      float square = 0.0;
      for (uint i = Lane(); used && i < head_dim; i += kLanes) {
        square += fresh[first + i] * fresh[first + i];
      }
      factor = 1.0 / sqrt(SumOfLanes(square) / float(head_dim) + epsilon);
    }
    float times = is_key ? 1.0 : scale;
    for (uint i = Lane(); used && i < rotary_dim / 2; i += kLanes) {
      uint j = rotary_dim / 2 + i;
      float a = fresh[first + i] * factor, b = fresh[first + j] * factor;
      if (kNorms) {
        a *= is_key ? k_norm[i] : q_norm[i];
        b *= is_key ? k_norm[j] : q_norm[j];
      }
      vec2 turn = rotary_scale * Rotation(position, frequencies[i]);
      fresh[first + i] = (a * turn.x - b * turn.y) * times;
      fresh[first + j] = (b * turn.x + a * turn.y) * times;
    }
    for (uint i = rotary_dim + Lane(); used && i < head_dim; i += kLanes) {
      float a = fresh[first + i] * factor;
      if (kNorms) a *= is_key ? k_norm[i] : q_norm[i];
      fresh[first + i] = a * times;
    }
  }
}

// Brings what is new to the cache, and to what the cache makes of it.
void Store(uint page_word, uint position) {
  uint first = page_word + position % 32 * (kDim / (kHalf ? 2 : 1));
  for (uint i = lane_id; i < kDim / (kHalf ? 2 : 1); i += kTotal) {
    if (kHalf) {
      uint key = PackHalves(fresh[kHeads * kDim + 2 * i], fresh[kHeads * kDim + 2 * i + 1]);
      uint value = PackHalves(fresh_value[2 * i], fresh_value[2 * i + 1]);
      key_words[first + i] = key;
      value_words[first + i] = value;
      vec2 k = unpackHalf2x16(key), v = unpackHalf2x16(value);
      fresh[kHeads * kDim + 2 * i] = k.x;
      fresh[kHeads * kDim + 2 * i + 1] = k.y;
      fresh_value[2 * i] = v.x;
      fresh_value[2 * i + 1] = v.y;
    } else {
      key_words[first + i] = floatBitsToUint(fresh[kHeads * kDim + i]);
      value_words[first + i] = floatBitsToUint(fresh_value[i]);
    }
  }
}

float Score(uint head, uint first_word) {
  float sum = 0.0;
  const uint each = kHalf ? 8 : 4;
  [[unroll]] for (uint i = 0; i < kDim / each; ++i) {
    uvec4 word = kHeld ? held_keys[i] : keys[first_word / 4 + i];
    uint at = head * kDim + i * each;
    [[unroll]] for (uint j = 0; j < 4; ++j) {
      if (kHalf) {
        vec2 k = unpackHalf2x16(word[j]);
        sum = fma(k.x, fresh[at + 2 * j], fma(k.y, fresh[at + 2 * j + 1], sum));
      } else {
        sum = fma(uintBitsToFloat(word[j]), fresh[at + j], sum);
      }
    }
  }
  return sum;
}

// The scores of the token that is not in the cache yet, a lane group to a head.
void ScoreFresh(uint at, uint count) {
  for (uint block = 0; block < kHeads; block += kGroups) {
    uint head = block + LaneGroup();
    float sum = 0.0;
    for (uint i = Lane(); head < kHeads && i < kDim; i += kLanes) {
      sum = fma(fresh[head * kDim + i], fresh[kHeads * kDim + i], sum);
    }
    sum = SumOfLanes(sum);
    if (head < kHeads && Lane() == 0) {
      weights[head * kSplit + at] = head < count ? Capped(sum, softcap) : -1.0 / 0.0;
    }
  }
}

// The sum of the weighted values of 32 tokens in the cache: all are read, so that none waits for
// another, and those without weight may be anything.
vec2 AddValues(vec2 sum, uint word, uint t0, uint first_weight, uint pair, uint fresh_token) {
  [[unroll]] for (uint t = 0; t < 32; ++t) {
    vec2 v;
    if (kHeld) {
      v = unpackHalf2x16(held_values[t0 + t]);
    } else if (kHalf) {
      v = unpackHalf2x16(value_words[word + t * (kDim / 2) + pair]);
    } else {
      v = uintBitsToFloat(value_pairs[(word + t * kDim) / 2 + pair]);
    }
    float weight = t == fresh_token ? 0.0 : weights[first_weight + t];
    sum = weight > 0.0 ? fma(vec2(weight), v, sum) : sum;
  }
  return sum;
}

void main() {
  uint row = first_row + gl_WorkGroupID.z;
  uint position = StepPosition(row);
  uint begin = window == 0 || position + 1 < window ? 0 : position + 1 - window;
  uint split = begin / kSplit + gl_WorkGroupID.y;
  uint last_split = position / kSplit;
  if (split > last_split) return;
  bool with_key = split == last_split;

  uint shared_heads = heads / kv_heads;
  uint blocks = (shared_heads + kHeads - 1) / kHeads;  // of the heads of one key head
  uint kv_head = gl_WorkGroupID.x / blocks;
  uint first_head = gl_WorkGroupID.x % blocks * kHeads;
  uint count = min(kHeads, shared_heads - first_head);
  first_head += kv_head * shared_heads;

  uint first_token = split * kSplit;
  uvec2 words;  // of the split's two pages
  [[unroll]] for (uint i = 0; i < 2; ++i) {
    uint page = StepPage(row, min(first_token + 32 * i, position));
    words[i] = TokenWord(page, kv_heads, kv_head, 0, kDim);
  }
  if (kHeld) Hold(words, first_token, position);

  uint first = row * (heads + 2 * kv_heads) * head_dim;
  for (uint i = lane_id; i < (kHeads + 1) * kDim; i += kTotal) {
    uint head = i / kDim, at = i % kDim;
    bool inside = at < head_dim && (head < count || head == kHeads);
    head = head == kHeads ? heads + kv_head : first_head + head;
    fresh[i] = inside ? qkv[first + head * head_dim + at] : 0.0;
  }
  for (uint i = lane_id; with_key && i < kDim; i += kTotal) {
    fresh_value[i] = i < head_dim ? qkv[first + (heads + kv_heads + kv_head) * head_dim + i] : 0.0;
  }
  barrier();
  Rotate(position, first_head, with_key);
  barrier();
  if (with_key) {
    // Other workgroups of the same key head, if any, store the same.
    Store(words[position % kSplit / 32], position);
    barrier();
  }

  if (with_key) ScoreFresh(position % kSplit, count);
  for (uint i = lane_id; i < kHeads * kSplit; i += kTotal) {
    uint token = first_token + i % kSplit;
    if (token == position) continue;
    float score = -1.0 / 0.0;
    if (token >= begin && token < position && i / kSplit < count) {
      uint word = words[i % kSplit / 32] + token % 32 * (kDim / (kHalf ? 2 : 1));
      score = Capped(Score(i / kSplit, word), softcap);
    }
    weights[i] = score;
  }
  barrier();
  for (uint block = 0; block < kHeads; block += kGroups) {
    uint head = block + LaneGroup();
    float most = -1.0 / 0.0;
    for (uint t = Lane(); head < kHeads && t < kSplit; t += kLanes) {
      most = max(most, weights[head * kSplit + t]);
    }
    most = MaximumOfLanes(most);
    float total = 0.0;
    for (uint t = Lane(); head < count && t < kSplit; t += kLanes) {
      float weight = exp(weights[head * kSplit + t] - most);
      weights[head * kSplit + t] = weight;
      total += weight;
    }
    total = SumOfLanes(total);
    if (head < kHeads && Lane() == 0) {
      greatest[head] = most;
      totals[head] = total;
    }
  }
  barrier();

  uint splits = last_split - begin / kSplit + 1;
  uint place = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * gl_NumWorkGroups.y;
  const uint stride = kHeads * (kDim + 2);  // of a split in `partial`
  for (uint i = lane_id; i < count * (kDim / 2); i += kTotal) {
    uint head = i / (kDim / 2), pair = i % (kDim / 2);
    vec2 sum = vec2(0.0);
    [[unroll]] for (uint t0 = 0; t0 < kSplit; t0 += 32) {
      uint token0 = first_token + t0;
      if (token0 > position || token0 + 31 < begin) continue;
      sum = AddValues(sum, words[t0 / 32], t0, head * kSplit + t0, pair, position - token0);
    }
    if (with_key) {
      float weight = weights[head * kSplit + position % kSplit];
      sum = fma(vec2(weight), vec2(fresh_value[2 * pair], fresh_value[2 * pair + 1]), sum);
    }
    if (splits == 1) {
      sum /= totals[head];
      uint at = (row * heads + first_head + head) * head_dim + 2 * pair;
      if (2 * pair < head_dim) result[at] = sum.x;
      if (2 * pair + 1 < head_dim) result[at + 1] = sum.y;
    } else {
      uint at = (place + gl_WorkGroupID.y) * stride + head * (kDim + 2);
      partial[at + 2 * pair] = sum.x;
      partial[at + 2 * pair + 1] = sum.y;
      if (pair == 0) {
        partial[at + kDim] = greatest[head];
        partial[at + kDim + 1] = totals[head];
      }
    }
  }
  if (splits == 1) return;

  memoryBarrierBuffer();
  barrier();
  uint counter = gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x;
  if (lane_id == 0) order = atomicAdd(done[counter], 1);
  barrier();
  if (order + 1 < splits) return;
  if (lane_id == 0) done[counter] = 0;  // for the next time
  memoryBarrierBuffer();
  for (uint i = lane_id; i < count * head_dim; i += kTotal) {
    uint head = i / head_dim, at = i % head_dim;
    float most = -1.0 / 0.0, total = 0.0, sum = 0.0;
    for (uint s0 = 0; s0 < splits; s0 += 4) {
      float maxima[4], totals_there[4], sums[4];  // all are read, so that none waits for another
      [[unroll]] for (uint s = 0; s < 4; ++s) {
        uint from = (place + min(s0 + s, splits - 1)) * stride + head * (kDim + 2);
        maxima[s] = partial[from + kDim];
        totals_there[s] = partial[from + kDim + 1];
        sums[s] = partial[from + at];
      }
      [[unroll]] for (uint s = 0; s < 4; ++s) {
        if (s0 + s >= splits) break;
        float now = max(most, maxima[s]);
        float keep = exp(most - now), take = exp(maxima[s] - now);
        total = total * keep + totals_there[s] * take;
        sum = sum * keep + sums[s] * take;
        most = now;
      }
    }
    result[(row * heads + first_head + head) * head_dim + at] = sum / total;
  }
}
