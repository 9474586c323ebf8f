#version 460
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// out = epilogue(x W^T) for many rows of x, by cooperative matrices.
//
// A workgroup computes a tile of kM rows of x by kN rows of W. Both are brought to shared memory as
// float16, kK columns at a time, while registers already fetch the next. Sums are taken in the
// order of K, whatever the tile.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint kLanes = 32;  // of a subgroup
layout(constant_id = 2) const uint kM = 128;
layout(constant_id = 3) const uint kN = 128;
layout(constant_id = 4) const uint kK = 64;
layout(constant_id = 5) const uint kPartM = 64;  // of a subgroup
layout(constant_id = 6) const uint kPartN = 32;
layout(constant_id = 7) const uint kUnits = 64;  // of 16 bytes, in a row of W
layout(constant_id = 8) const uint kEncoding = 0;
layout(constant_id = 9) const uint kEpilogue = 0;

#include "epilogue.glsl"

const uint kQ4Float32 = 3;  // mlc::Encoding
const uint kSide = 16;

layout(push_constant) uniform Shape {
  uint rows;       // of W, in this part of it
  uint stride;     // of x: K, rounded up to a multiple of kK
  uint columns;    // rows of x
  uint first_row;  // of the result, for the first of them
  uint width;      // of a row of the result
  uint first_out;  // where in it this part begins
  float cap;
};
layout(std430, set = 0, binding = 0) readonly buffer Weights { uvec4 weights[]; };
layout(std430, set = 0, binding = 1) readonly buffer Scales { uint scales[]; };
layout(std430, set = 0, binding = 2) readonly buffer Input { uvec4 x[]; };  // of prepare.comp
layout(std430, set = 0, binding = 3) readonly buffer Bias { float bias[]; };
layout(std430, set = 0, binding = 4) buffer Output { float result[]; };

const uint kTotal = gl_WorkGroupSize.x;
const uint kStride = kK / 8 + 1;  // in uvec4; one more keeps rows off each other's banks
shared uvec4 tile_x[kM * kStride];
shared uvec4 tile_w[kN * kStride];
shared float scratch[kTotal / kLanes * kSide * kSide];

#ifdef Q4
const uint kUnitValues = 32;
#else
const uint kUnitValues = 8;
#endif
const uint kRowUnits = kK / kUnitValues;  // of a row of the tile of W
const uint kVectorsX = kM * kK / 8;
const uint kUnitsW = kN * kRowUnits;
const uint kLoadsX = (kVectorsX + kTotal - 1) / kTotal;
const uint kLoadsW = (kUnitsW + kTotal - 1) / kTotal;
uvec4 next_x[kLoadsX];
uvec4 next_w[kLoadsW];
uint next_scale[kLoadsW];

// A dispatch may not have as many workgroups as it needs in one dimension.
uint Block() { return gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x; }

void Fetch(uint k) {
  [[unroll]] for (uint i = 0; i < kLoadsX; ++i) {
    uint at = i * kTotal + gl_LocalInvocationID.x;
    uint row = min(gl_WorkGroupID.y * kM + at / (kK / 8), columns - 1);
    next_x[i] = x[row * (stride / 8) + k / 8 + at % (kK / 8)];
  }
  [[unroll]] for (uint i = 0; i < kLoadsW; ++i) {
    uint at = i * kTotal + gl_LocalInvocationID.x;
    uint row = min(Block() * kN + at / kRowUnits, rows - 1);
    // Past the end of a row x is zero, and what is read here is a number of the last unit.
    uint unit = row * kUnits + min(k / kUnitValues + at % kRowUnits, kUnits - 1);
    next_w[i] = weights[unit];
#ifdef Q4
    next_scale[i] = kEncoding == kQ4Float32 ? scales[unit] : scales[unit >> 1] >> (unit % 2 * 16);
#endif
  }
}

#ifdef Q4
f16vec2 Scale(uint bits) {
  if (kEncoding == kQ4Float32) return f16vec2(float16_t(uintBitsToFloat(bits)));
  return unpackFloat2x16(bits).xx;
}

// Nibbles i and i + 4 of a word; x is stored in the same order.
uint Pair(uint word, uint i, f16vec2 scale) {
  uint bits = ((word >> (4 * i)) & 0x000f000fu) | 0x64006400u;  // 1024 + nibble
  return packFloat2x16((unpackFloat2x16(bits) - f16vec2(1031.0)) * scale);
}
#endif

void Keep() {
  [[unroll]] for (uint i = 0; i < kLoadsX; ++i) {
    uint at = i * kTotal + gl_LocalInvocationID.x;
    if (kVectorsX % kTotal != 0 && at >= kVectorsX) continue;
    tile_x[at / (kK / 8) * kStride + at % (kK / 8)] = next_x[i];
  }
  [[unroll]] for (uint i = 0; i < kLoadsW; ++i) {
    uint at = i * kTotal + gl_LocalInvocationID.x;
    if (kUnitsW % kTotal != 0 && at >= kUnitsW) continue;
    uint to = at / kRowUnits * kStride + at % kRowUnits * (kUnitValues / 8);
#ifdef Q4
    f16vec2 scale = Scale(next_scale[i]);
    [[unroll]] for (uint j = 0; j < 4; ++j) {
      uint word = next_w[i][j];
      tile_w[to + j] = uvec4(Pair(word, 0, scale), Pair(word, 1, scale), Pair(word, 2, scale),
                             Pair(word, 3, scale));
    }
#else
    tile_w[to] = next_w[i];
#endif
  }
}

const uint kBlocksM = kPartM / kSide, kBlocksN = kPartN / kSide;
#define SUMS coopmat<float, gl_ScopeSubgroup, kSide, kSide, gl_MatrixUseAccumulator>
SUMS sums[kBlocksM * kBlocksN];

void Multiply(uint part_m, uint part_n) {
  [[unroll]] for (uint j = 0; j < kK / kSide; ++j) {
    coopmat<float16_t, gl_ScopeSubgroup, kSide, kSide, gl_MatrixUseA> a[kBlocksM];
    coopmat<float16_t, gl_ScopeSubgroup, kSide, kSide, gl_MatrixUseB> b;
    [[unroll]] for (uint m = 0; m < kBlocksM; ++m) {
      coopMatLoad(a[m], tile_x, (part_m + m * kSide) * kStride + j * (kSide / 8), kStride,
                  gl_CooperativeMatrixLayoutRowMajor);
    }
    [[unroll]] for (uint n = 0; n < kBlocksN; ++n) {
      coopMatLoad(b, tile_w, (part_n + n * kSide) * kStride + j * (kSide / 8), kStride,
                  gl_CooperativeMatrixLayoutColumnMajor);
      [[unroll]] for (uint m = 0; m < kBlocksM; ++m) {
        sums[m * kBlocksN + n] = coopMatMulAdd(a[m], b, sums[m * kBlocksN + n]);
      }
    }
  }
}

void WaitForSubgroup() {
  controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared,
                 gl_SemanticsAcquireRelease);
}

// Writes the results of one matrix of sums, which begins at row `m` of the tile and column `n`.
void Write(SUMS block, uint m, uint n) {
  const uint each = kGate ? 2 : 1;  // sums that make a result
  const uint wide = kSide / each;
  uint first = gl_SubgroupID * kSide * kSide;
  WaitForSubgroup();  // the last block has been read
  coopMatStore(block, scratch, first, kSide, gl_CooperativeMatrixLayoutRowMajor);
  WaitForSubgroup();
  [[unroll]] for (uint i = 0; i < kSide * wide / kLanes; ++i) {
    uint at = i * kLanes + gl_SubgroupInvocationID;
    uint column = gl_WorkGroupID.y * kM + m + at / wide;
    uint row = (Block() * kN + n) / each + at % wide;
    if (column >= columns || row >= rows / each) continue;
    uint to = (first_row + column) * width + first_out + row;
    result[to] = Finished(scratch[first + each * at], kGate ? scratch[first + each * at + 1] : 0.0,
                          kEpilogue == kBias  ? bias[first_out + row]
                          : kEpilogue == kAdd ? result[to]
                                              : 0.0,
                          cap);
  }
}

void main() {
  uint part_m = gl_SubgroupID / (kN / kPartN) * kPartM;
  uint part_n = gl_SubgroupID % (kN / kPartN) * kPartN;
  [[unroll]] for (uint i = 0; i < kBlocksM * kBlocksN; ++i)
    sums[i] = SUMS(0.0);
  Fetch(0);
  for (uint k = 0; k < stride; k += kK) {
    if (k > 0) barrier();
    Keep();
    barrier();
    if (k + kK < stride) Fetch(k + kK);
    Multiply(part_m, part_n);
  }
  [[unroll]] for (uint m = 0; m < kBlocksM; ++m) {
    [[unroll]] for (uint n = 0; n < kBlocksN; ++n) {
      Write(sums[m * kBlocksN + n], part_m + m * kSide, part_n + n * kSide);
    }
  }
}
