#version 460
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_shuffle : require
// Causal attention of a prompt's rows over a float16 cache, by cooperative matrices.
//
// A workgroup takes one head of kSubgroups * 16 rows, each subgroup 16 of them, and goes through
// the tokens a page at a time, twice: first for each row's greatest score and sum of weights, then
// for the weighted values. To do it in one pass, the sums would have to be scaled row by row, which
// cooperative matrices cannot.
#define STEP_BINDING 4

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint kLanes = 32;
layout(constant_id = 2) const uint kDim = 64;  // padded: a multiple of 16
const bool kHalf = true;

#include "attention.glsl"
#include "capped.glsl"
#include "step.glsl"

layout(push_constant) uniform Shape {
  uint first_row;
  uint rows;  // of the prompt
  uint heads;
  uint kv_heads;
  uint head_dim;
  uint window;
  float scale;
  float softcap;
};
layout(std430, set = 0, binding = 0) readonly buffer Qkv { float qkv[]; };
layout(std430, set = 0, binding = 1) readonly buffer Keys { uvec4 keys[]; };
layout(std430, set = 0, binding = 2) readonly buffer CacheValues { uvec4 cache_values[]; };
layout(std430, set = 0, binding = 3) writeonly buffer Output { float result[]; };

const uint kSide = 16;
const uint kTokens = 32;  // of a page
const uint kTotal = gl_WorkGroupSize.x;
const uint kSubgroups = kTotal / kLanes;
const uint kRows = kSubgroups * kSide;
const uint kVectors = kDim / 8;
const uint kStride = kVectors + 1;           // of a row of halves, in uvec4
const uint kScoreStride = kTokens + 4;       // of a row of scores
const uint kWeightStride = kTokens / 8 + 1;  // of a row of weights, in uvec4
const uint kScores = kSide * kScoreStride;
shared uvec4 tile[2 * kTokens * kStride];  // keys and values; at first the rows of q
shared float scores[kSubgroups * kScores];
shared uvec4 weights[kSubgroups * kSide * kWeightStride];

#define A coopmat<float16_t, gl_ScopeSubgroup, kSide, kSide, gl_MatrixUseA>
#define B coopmat<float16_t, gl_ScopeSubgroup, kSide, kSide, gl_MatrixUseB>
#define SUM coopmat<float, gl_ScopeSubgroup, kSide, kSide, gl_MatrixUseAccumulator>
A q[kDim / kSide];
SUM found[kDim / kSide];

void WaitForSubgroup() {
  controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared,
                 gl_SemanticsAcquireRelease);
}

// Rows of q go through `tile`, as many at a time as it holds.
void LoadQueries(uint head, uint first) {
  const uint most = 2 * kTokens / kSide;  // subgroups whose rows fit
  for (uint block = 0; block < kSubgroups; block += most) {
    barrier();
    for (uint i = gl_LocalInvocationID.x; i < 2 * kTokens * kVectors; i += kTotal) {
      uint row = block * kSide + i / kVectors, at = i % kVectors * 8;
      uvec4 halves = uvec4(0);
      if (row < kRows && first + row < rows) {
        uint from = ((first_row + first + row) * (heads + 2 * kv_heads) + head) * head_dim + at;
        for (uint j = 0; j < 4; ++j) {
          vec2 pair = vec2(at + 2 * j < head_dim ? qkv[from + 2 * j] : 0.0,
                           at + 2 * j + 1 < head_dim ? qkv[from + 2 * j + 1] : 0.0);
          halves[j] = packFloat2x16(f16vec2(pair));
        }
      }
      tile[i / kVectors * kStride + i % kVectors] = halves;
    }
    barrier();
    if (gl_SubgroupID >= block && gl_SubgroupID < block + most) {
      [[unroll]] for (uint d = 0; d < kDim / kSide; ++d) {
        coopMatLoad(q[d], tile, (gl_SubgroupID - block) * kSide * kStride + 2 * d, kStride,
                    gl_CooperativeMatrixLayoutRowMajor);
      }
    }
  }
}

// Of `count` tokens, and more that count for nothing: their values may be NaN, which is not nothing
// times zero.
void LoadPage(uint page, uint kv_head, bool with_values, uint count) {
  uint from = (page * kv_heads + kv_head) * kTokens * kVectors;
  barrier();  // the last page has been used
  for (uint i = gl_LocalInvocationID.x; i < kTokens * kVectors; i += kTotal) {
    uint to = i / kVectors * kStride + i % kVectors;
    tile[to] = keys[from + i];
    if (!with_values) continue;
    tile[kTokens * kStride + to] = i / kVectors < count ? cache_values[from + i] : uvec4(0);
  }
  barrier();
}

// Leaves the scores of the subgroup's rows and the page's tokens in `scores`.
void Score() {
  WaitForSubgroup();  // the last scores have been used
  [[unroll]] for (uint n = 0; n < kTokens / kSide; ++n) {
    SUM sum = SUM(0.0);
    [[unroll]] for (uint d = 0; d < kDim / kSide; ++d) {
      B k;
      coopMatLoad(k, tile, n * kSide * kStride + 2 * d, kStride,
                  gl_CooperativeMatrixLayoutColumnMajor);
      sum = coopMatMulAdd(q[d], k, sum);
    }
    coopMatStore(sum, scores, gl_SubgroupID * kScores + n * kSide, kScoreStride,
                 gl_CooperativeMatrixLayoutRowMajor);
  }
  WaitForSubgroup();
}

// Of a row's score at a token; nothing where it must not look.
float Masked(uint at, uint token, uint begin, uint end) {
  if (token < begin || token >= end) return -1.0 / 0.0;
  float score = scores[at] * scale;
  return softcap > 0.0 ? Capped(score, softcap) : score;
}

void main() {
  uint head = gl_WorkGroupID.x;
  uint kv_head = head / (heads / kv_heads);
  uint first = gl_WorkGroupID.y * kRows;
  LoadQueries(head, first);
  [[unroll]] for (uint d = 0; d < kDim / kSide; ++d)
    found[d] = SUM(0.0);

  // Two invocations share a row, every other token each.
  const uint each = kLanes / kSide;
  uint row = gl_SubgroupInvocationID / each;
  uint part = gl_SubgroupInvocationID % each;
  uint start = StepPosition(first_row);  // of the prompt's first row
  uint index = min(first + gl_SubgroupID * kSide + row, rows - 1);
  uint end = start + index + 1;
  uint begin = window == 0 || end < window ? 0 : end - window;
  uint last_end = start + min(first + kRows, rows);
  uint first_end = start + first + 1;
  uint first_page = (window == 0 || first_end < window ? 0 : first_end - window) / kTokens;
  uint pages = (last_end + kTokens - 1) / kTokens;
  uint row_scores = gl_SubgroupID * kScores + row * kScoreStride;
  uint row_weights = (gl_SubgroupID * kSide + row) * kWeightStride;

  float greatest = -1.0 / 0.0;
  float total = 0.0;
  for (uint page = first_page; page < pages; ++page) {
    LoadPage(StepPage(first_row, page * kTokens), kv_head, false, 0);
    Score();
    float most = greatest;
    for (uint t = part; t < kTokens; t += each) {
      most = max(most, Masked(row_scores + t, page * kTokens + t, begin, end));
    }
    for (uint flip = 1; flip < each; flip *= 2) most = max(most, subgroupShuffleXor(most, flip));
    if (most > greatest) total *= exp(greatest - most);
    greatest = most;
    for (uint t = part; t < kTokens; t += each) {
      float score = Masked(row_scores + t, page * kTokens + t, begin, end);
      if (score > -1.0 / 0.0) total += exp(score - greatest);
    }
  }
  for (uint flip = 1; flip < each; flip *= 2) total += subgroupShuffleXor(total, flip);

  for (uint page = first_page; page < pages; ++page) {
    LoadPage(StepPage(first_row, page * kTokens), kv_head, true, last_end - page * kTokens);
    Score();
    // Eight tokens to an invocation at a time.
    for (uint i = part; i < kTokens / 8; i += each) {
      uvec4 halves;
      [[unroll]] for (uint j = 0; j < 4; ++j) {
        vec2 pair;
        [[unroll]] for (uint k = 0; k < 2; ++k) {
          uint t = 8 * i + 2 * j + k;
          pair[k] = exp(Masked(row_scores + t, page * kTokens + t, begin, end) - greatest);
        }
        halves[j] = packFloat2x16(f16vec2(pair));
      }
      weights[row_weights + i] = halves;
    }
    WaitForSubgroup();
    [[unroll]] for (uint t = 0; t < kTokens / kSide; ++t) {
      A weight;
      coopMatLoad(weight, weights, gl_SubgroupID * kSide * kWeightStride + 2 * t, kWeightStride,
                  gl_CooperativeMatrixLayoutRowMajor);
      [[unroll]] for (uint d = 0; d < kDim / kSide; ++d) {
        B value;
        coopMatLoad(value, tile, (kTokens + t * kSide) * kStride + 2 * d, kStride,
                    gl_CooperativeMatrixLayoutRowMajor);
        found[d] = coopMatMulAdd(weight, value, found[d]);
      }
    }
  }

  [[unroll]] for (uint d = 0; d < kDim / kSide; ++d) {
    WaitForSubgroup();
    coopMatStore(found[d], scores, gl_SubgroupID * kScores, kScoreStride,
                 gl_CooperativeMatrixLayoutRowMajor);
    WaitForSubgroup();
    for (uint i = part; i < kSide && first + gl_SubgroupID * kSide + row < rows; i += each) {
      if (d * kSide + i >= head_dim) continue;
      uint at = ((first_row + index) * heads + head) * head_dim + d * kSide + i;
      result[at] = scores[row_scores + i] / total;
    }
  }
}
