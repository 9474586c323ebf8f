// A product with a matrix of weights, as matmul.cc lays it out: its arguments and results.
#include "epilogue.glsl"

const uint kFloat32 = 0, kFloat16 = 1, kQ4Float16 = 2, kQ4Float32 = 3;  // mlc::Encoding

layout(push_constant) uniform Shape {
  uint rows;       // of W, in this part of it
  uint cols;       // K
  uint columns;    // rows of x
  uint first_x;    // the first of them
  uint width;      // of a row of the result
  uint first_out;  // where in it this part begins
  float epsilon;
  float cap;
#ifdef BOARD
  Overlap overlap;
#endif
};
layout(std430, set = 0, binding = 0) readonly buffer Weights { uvec4 weights[]; };
layout(std430, set = 0, binding = 0) readonly buffer WeightPairs { uvec2 weight_pairs[]; };
layout(std430, set = 0, binding = 0) readonly buffer WeightWords { uint weight_words[]; };
layout(std430, set = 0, binding = 1) readonly buffer Scales { uint scales[]; };
#include "rows.glsl"
layout(std430, set = 0, binding = 4) readonly buffer Bias { float bias[]; };
layout(std430, set = 0, binding = 5) buffer Output { float result[]; };

// A dispatch may not have as many workgroups as it needs in one dimension.
uint Block() { return gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x; }

// The word that has the scale of a unit of 4-bit weights, and that scale.
uint ScaleWord(uint unit) {
  if (kEncoding < kQ4Float16) return 0;
  return scales[kEncoding == kQ4Float32 ? unit : unit >> 1];
}
float ScaleIn(uint word, uint unit) {
  if (kEncoding < kQ4Float16) return 1.0;
  if (kEncoding == kQ4Float32) return uintBitsToFloat(word);
  return unpackHalf2x16(word >> (unit & 1) * 16).x;
}

// Where the result of a row of x and a row of this part of W (of a pair, where it is gated) lies.
uint Place(uint column, uint row) { return (first_x + column) * width + first_out + row; }

float Addend(uint column, uint row) {
  if (kEpilogue == kBias) return bias[first_out + row];
#ifdef BOARD
  if (kEpilogue == kAdd && kOverlaps && overlap.addend != 0) {
    return Look(overlap.addend, first_out + row);
  }
#endif
  return kEpilogue == kAdd ? result[Place(column, row)] : 0.0;
}
