#version 460
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
// What matvec.comp brings to shared memory of several rows of x: x times the norm's weight, against
// 4-bit weights as integers; and the sum of squares. A workgroup to a row, with as many invocations
// as a workgroup of matvec.comp: one that has a row by itself does the same in the same order.
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint kLanes = 32;
layout(constant_id = 2) const uint kUnits = 64;  // of 16 bytes, in a row of W
layout(constant_id = 3) const bool kQuantized = false;
layout(constant_id = 4) const bool kNorm = false;
layout(constant_id = 5) const bool kAligned = true;  // rows of x are at multiples of 16 bytes

layout(push_constant) uniform Shape {
  uint cols;  // K
  uint first_x;
};
layout(std430, set = 0, binding = 0) writeonly buffer Integers { uvec4 integers[]; };
layout(std430, set = 0, binding = 0) writeonly buffer Result { vec4 result[]; };
layout(std430, set = 0, binding = 1) writeonly buffer ScaleOutput { vec2 scales[]; };

#include "lanes.glsl"
#include "quantize.glsl"
#include "rows.glsl"

const uint kTotal = gl_WorkGroupSize.x;
shared float squares[kTotal / kLanes];

float square = 0.0;

void StageIntegers(uint row) {
  for (uint first = 0; first < 4 * kUnits; first += kTotal) {
    uint i = first + gl_LocalInvocationID.x;
    vec4 a = LoadX(first_x + row, 2 * i), b = LoadX(first_x + row, 2 * i + 1);
    square = Dot(b, b, Dot(a, a, square));
    Quantized quantized = Quantize(a * LoadNorm(2 * i), b * LoadNorm(2 * i + 1));
    uint unit = i / 4;
    if (unit >= kUnits) continue;
    integers[(row * 4 + i % 4) * kUnits + unit] = quantized.words;
    if (i % 4 == 0) scales[row * (kUnits + 1) + unit] = quantized.scale;
  }
}

void StageFloats(uint row) {
  uint vectors = (cols + 3) / 4;
  for (uint i = gl_LocalInvocationID.x; i < vectors; i += kTotal) {
    vec4 value = LoadX(first_x + row, i);
    square = Dot(value, value, square);
    result[row * vectors + i] = value * LoadNorm(i);
  }
}

void main() {
  uint row = gl_WorkGroupID.x;
  if (kQuantized) {
    StageIntegers(row);
  } else {
    StageFloats(row);
  }
  float sum = SumOfLanes(square);
  if (Lane() == 0) squares[LaneGroup()] = sum;
  barrier();
  if (gl_LocalInvocationID.x != 0) return;
  float total = 0.0;
  for (uint i = 0; i < kTotal / kLanes; ++i) total += squares[i];
  scales[kQuantized ? row * (kUnits + 1) + kUnits : row] = vec2(total, 0.0);
}
