#version 460
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#ifdef DOT
#extension GL_EXT_integer_dot_product : require
#endif
// out = epilogue(norm(x) W^T) for a few rows of x; W is read once, 16 bytes at a time.
//
// A workgroup brings x to shared memory. Then teams of kSpan subgroups go their own ways, each with
// kRows rows of W, its invocations side by side along K. The sum of one result is taken in the same
// order whatever kRows, kColumns and kPiece are.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint kLanes = 32;  // of a subgroup; at least 4
layout(constant_id = 2) const uint kSpan = 1;
layout(constant_id = 3) const uint kRows = 4;  // even
layout(constant_id = 4) const uint kColumns = 1;
layout(constant_id = 5) const uint kUnits = 64;  // of 16 bytes, in a row of W
layout(constant_id = 6) const uint kPiece = 64;  // units whose x is in shared memory at a time
layout(constant_id = 7) const uint kEncoding = 0;
layout(constant_id = 8) const uint kEpilogue = 0;
layout(constant_id = 9) const bool kNorm = false;
layout(constant_id = 10) const bool kAligned = true;  // K is a multiple of 4

#include "epilogue.glsl"
#include "lanes.glsl"

const uint kFloat32 = 0, kFloat16 = 1, kQ4Float32 = 3;  // mlc::Encoding

layout(push_constant) uniform Shape {
  uint rows;       // of W, in this part of it
  uint cols;       // K
  uint columns;    // rows of x
  uint first_x;    // the first of them
  uint width;      // of a row of the result
  uint first_out;  // where in it this part begins
  float epsilon;
  float cap;
};
layout(std430, set = 0, binding = 0) readonly buffer Weights { uvec4 weights[]; };
layout(std430, set = 0, binding = 1) readonly buffer Scales { uint scales[]; };
layout(std430, set = 0, binding = 2) readonly buffer Input { vec4 x[]; };
layout(std430, set = 0, binding = 2) readonly buffer InputValues { float x_values[]; };
layout(std430, set = 0, binding = 3) readonly buffer Norm { vec4 norm[]; };
layout(std430, set = 0, binding = 3) readonly buffer NormValues { float norm_values[]; };
layout(std430, set = 0, binding = 4) readonly buffer Bias { float bias[]; };
layout(std430, set = 0, binding = 5) buffer Output { float result[]; };

const uint kTotal = gl_WorkGroupSize.x;
const uint kSubgroups = kTotal / kLanes;
const uint kTeams = kSubgroups / kSpan;
const uint kWide = kSpan * kLanes;  // invocations of a team
const uint kChunks = (kPiece + kWide - 1) / kWide;
const uint kPieces = (kUnits + kPiece - 1) / kPiece;

shared float squares[kNorm ? kColumns * kSubgroups : 1];
shared float partial[kRows * kColumns * kSubgroups];

float sums[kRows * kColumns];
float square[kColumns];
uvec4 next[kRows];
float next_scale[kRows];

float Dot(vec4 a, vec4 b, float sum) {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

// Values 4 * i and the next three of a row; zeros past its end.
vec4 LoadX(uint column, uint i) {
  uint row = first_x + min(gl_WorkGroupID.y * kColumns + column, columns - 1);
  if (4 * i >= cols) return vec4(0.0);
  if (kAligned) return x[row * (cols / 4) + i];
  vec4 value = vec4(0.0);
  for (uint k = 0; k < 4 && 4 * i + k < cols; ++k) value[k] = x_values[row * cols + 4 * i + k];
  return value;
}

vec4 LoadNorm(uint i) {
  if (!kNorm || 4 * i >= cols) return vec4(1.0);
  if (kAligned) return norm[i];
  vec4 value = vec4(0.0);
  for (uint k = 0; k < 4 && 4 * i + k < cols; ++k) value[k] = norm_values[4 * i + k];
  return value;
}

#ifdef Q4
#include "matvec_q4.glsl"
#else
#include "matvec_float.glsl"
#endif

// A dispatch may not have as many workgroups as it needs in one dimension.
uint Block() { return gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x; }

void Fetch(uint unit) {
  uint first = (Block() * kTeams + LaneGroup() / kSpan) * kRows;
  uint near = min(unit, kUnits - 1);
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    next[r] = weights[min(first + r, rows - 1) * kUnits + near];
  }
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    next_scale[r] = Scale(min(first + r, rows - 1) * kUnits + near);
  }
}

// Adds the squares of x, in the order of `Stage` with one row of x.
void AddSquares() {
  [[unroll]] for (uint m = 0; m < kColumns; ++m) {
    square[m] = 0.0;
    for (uint i = gl_LocalInvocationID.x; 4 * kItem * i < cols; i += kTotal) {
      [[unroll]] for (uint k = 0; k < kItem; ++k) {
        vec4 value = LoadX(m, kItem * i + k);
        square[m] = Dot(value, value, square[m]);
      }
    }
  }
}

float Total(uint item, uint team) {
  float total = 0.0;
  for (uint i = 0; i < kSpan; ++i) total += partial[item * kSubgroups + team * kSpan + i];
  return total;
}

void Finish() {
  [[unroll]] for (uint i = 0; i < kRows * kColumns; ++i) {
    float sum = SumOfLanes(sums[i]);
    if (Lane() == 0) partial[i * kSubgroups + LaneGroup()] = sum;
  }
  if (kNorm) {
    [[unroll]] for (uint m = 0; m < kColumns; ++m) {
      float sum = SumOfLanes(square[m]);
      if (Lane() == 0) squares[m * kSubgroups + LaneGroup()] = sum;
    }
  }
  barrier();

  const uint each = kGate ? kRows / 2 : kRows;  // results of a team, of one row of x
  const uint part_width = kGate ? rows / 2 : rows;
  for (uint i = gl_LocalInvocationID.x; i < kTeams * each * kColumns; i += kTotal) {
    uint r = i % each, team = i / each % kTeams, m = i / (each * kTeams);
    uint row = (Block() * kTeams + team) * each + r;
    uint column = gl_WorkGroupID.y * kColumns + m;
    if (row >= part_width || column >= columns) continue;
    float sum = Total((kGate ? 2 * r : r) * kColumns + m, team);
    float up = kGate ? Total((2 * r + 1) * kColumns + m, team) : 0.0;
    if (kNorm) {
      float square = 0.0;
      for (uint s = 0; s < kSubgroups; ++s) square += squares[m * kSubgroups + s];
      float factor = 1.0 / sqrt(square / float(cols) + epsilon);
      sum *= factor;
      up *= factor;
    }
    uint at = (first_x + column) * width + first_out + row;
    result[at] = Finished(sum, up, kEpilogue == kBias ? bias[first_out + row] : 0.0,
                          kEpilogue == kAdd ? result[at] : 0.0, cap);
  }
}

void main() {
  uint lane = LaneGroup() % kSpan * kLanes + Lane();
  [[unroll]] for (uint i = 0; i < kRows * kColumns; ++i)
    sums[i] = 0.0;
  square[0] = 0.0;
  Fetch(lane);  // before all else: it takes longest
  for (uint piece = 0; piece < kPieces; ++piece) {
    if (piece > 0) barrier();
    Stage(piece);
    if (kNorm && kColumns > 1 && piece == 0) AddSquares();
    barrier();
    for (uint chunk = 0; chunk < kChunks; ++chunk) {
      uvec4 word[kRows];
      float scale[kRows];
      [[unroll]] for (uint r = 0; r < kRows; ++r) {
        word[r] = next[r];
        scale[r] = next_scale[r];
      }
      if (chunk + 1 < kChunks) {
        Fetch(piece * kPiece + (chunk + 1) * kWide + lane);
      } else if (piece + 1 < kPieces) {
        Fetch((piece + 1) * kPiece + lane);
      }
      AddUnits(word, scale, chunk * kWide + lane);
    }
  }
  Finish();
}
