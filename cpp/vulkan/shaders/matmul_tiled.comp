#version 460
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
// out = epilogue(norm(x) W^T) for many rows of x, on any device.
//
// A workgroup computes a tile of kM rows of x by 64 rows of W. Both are brought to shared memory as
// float32, 32 columns at a time, while registers already fetch the next. Each invocation sums up
// kM / 8 rows by 4. Sums are taken in the order of K, whatever the tile.

layout(local_size_x = 128) in;
layout(constant_id = 0) const uint kM = 64;      // 32 or 64
layout(constant_id = 1) const uint kUnits = 64;  // of 16 bytes, in a row of W
layout(constant_id = 2) const uint kEncoding = 0;
layout(constant_id = 3) const uint kEpilogue = 0;
layout(constant_id = 4) const bool kNorm = false;
layout(constant_id = 5) const bool kAligned = true;  // K is a multiple of 4

#include "product.glsl"

const uint kN = 64, kK = 32;
const uint kBlocksM = kM / 4, kBlocksN = kN / 4;
const uint kEach = kBlocksM / 8;  // blocks of four rows of x, of an invocation

// [column, four rows]: of the same column, rows are exchanged so that neither those who write (a
// block of 4 x 4 each) nor those who read are on the same banks.
shared vec4 tile_x[kK * kBlocksM];
shared vec4 tile_w[kK * kBlocksN];

uint Exchanged(uint column, uint block) { return block ^ (column / 4 % 8); }

// An invocation brings four columns of four rows of each tile.
uint column4 = gl_LocalInvocationID.x % 8;
uint block = gl_LocalInvocationID.x / 8;
bool brings_x = block < kBlocksM;
vec4 next_x[4];
uvec4 next_w[4];
float next_scale[4];

void Fetch(uint k) {
  uint at = k / 4 + column4;
  [[unroll]] for (uint i = 0; i < 4; ++i) {
    uint row = min(gl_WorkGroupID.y * kM + 4 * block + i, columns - 1);
    if (brings_x) next_x[i] = LoadX(first_x + row, at);
  }
  [[unroll]] for (uint i = 0; i < 4; ++i) {
    uint row = min(Block() * kN + 4 * block + i, rows - 1);
    // Past the end of a row x is zero, and what is read here is a number of the last unit.
    if (kEncoding == kFloat32) {
      next_w[i] = weights[row * kUnits + min(at, kUnits - 1)];
    } else if (kEncoding == kFloat16) {
      next_w[i].xy = weight_pairs[row * 2 * kUnits + min(at, 2 * kUnits - 1)];
    } else {
      uint unit = row * kUnits + k / kK;
      next_w[i].x = weight_words[4 * unit + column4 / 2];
      next_scale[i] = ScaleIn(ScaleWord(unit), unit);
    }
  }
}

vec4 Widened(uvec4 word, float scale) {
  if (kEncoding == kFloat32) return uintBitsToFloat(word);
  if (kEncoding == kFloat16) return vec4(unpackHalf2x16(word.x), unpackHalf2x16(word.y));
  uvec4 nibbles = uvec4(word.x) >> (column4 % 2 * 16 + uvec4(0, 4, 8, 12)) & 15u;
  return (vec4(nibbles) - 7.0) * scale;
}

vec4 squares = vec4(0.0);  // of four rows of x

void Keep(uint k) {
  if (brings_x) {
    vec4 factor = kNorm ? LoadNorm(k / 4 + column4) : vec4(1.0);
    mat4 x_columns;
    [[unroll]] for (uint i = 0; i < 4; ++i) {
      if (kNorm) squares[i] = Dot(next_x[i], next_x[i], squares[i]);
      x_columns[i] = next_x[i] * factor;
    }
    x_columns = transpose(x_columns);
    [[unroll]] for (uint i = 0; i < 4; ++i) {
      uint column = 4 * column4 + i;
      tile_x[column * kBlocksM + Exchanged(column, block)] = x_columns[i];
    }
  }
  mat4 w_columns;
  [[unroll]] for (uint i = 0; i < 4; ++i)
    w_columns[i] = Widened(next_w[i], next_scale[i]);
  w_columns = transpose(w_columns);
  [[unroll]] for (uint i = 0; i < 4; ++i) {
    uint column = 4 * column4 + i;
    tile_w[column * kBlocksN + Exchanged(column, block)] = w_columns[i];
  }
}

uint part_n = gl_LocalInvocationID.x % kBlocksN;  // blocks of four
uint part_m = gl_LocalInvocationID.x / kBlocksN;
vec4 sums[4 * kEach];  // a row of x, four rows of W

void Multiply() {
  for (uint first = 0; first < kK; first += 4) {
    [[unroll]] for (uint i = 0; i < 4; ++i) {
      uint column = first + i;
      vec4 w = tile_w[column * kBlocksN + Exchanged(column, part_n)];
      [[unroll]] for (uint m = 0; m < kEach; ++m) {
        vec4 value = tile_x[column * kBlocksM + Exchanged(column, part_m + 8 * m)];
        [[unroll]] for (uint j = 0; j < 4; ++j)
          sums[4 * m + j] = fma(vec4(value[j]), w, sums[4 * m + j]);
      }
    }
  }
}

// The factor of the norm, of the rows of x in one block.
vec4 NormFactor(uint block_m) {
  vec4 sum = vec4(0.0);
  for (uint i = 0; i < 8; ++i) sum += tile_x[i * kBlocksM + block_m];
  return 1.0 / sqrt(sum / float(cols) + epsilon);
}

void main() {
  [[unroll]] for (uint i = 0; i < 4 * kEach; ++i)
    sums[i] = vec4(0.0);
  Fetch(0);
  for (uint k = 0; k < cols; k += kK) {
    if (k > 0) barrier();
    Keep(k);
    barrier();
    if (k + kK < cols) Fetch(k + kK);
    Multiply();
  }
  if (kNorm) {
    barrier();
    if (brings_x) tile_x[column4 * kBlocksM + block] = squares;
    barrier();
  }
  const uint each = kGate ? 2 : 1;  // sums that make a result
  [[unroll]] for (uint m = 0; m < kEach; ++m) {
    vec4 factor = kNorm ? NormFactor(part_m + 8 * m) : vec4(1.0);
    [[unroll]] for (uint j = 0; j < 4; ++j) {
      uint column = gl_WorkGroupID.y * kM + 4 * (part_m + 8 * m) + j;
      vec4 sum = sums[4 * m + j] * factor[j];
      [[unroll]] for (uint n = 0; n < 4; n += each) {
        uint row = (Block() * kN + 4 * part_n + n) / each;
        if (column >= columns || row >= rows / each) continue;
        result[Place(column, row)] =
            Finished(sum[n], kGate ? sum[n + 1] : 0.0, Addend(column, row), cap);
      }
    }
  }
}
