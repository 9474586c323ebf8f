// A part of a weight matrix [rows, cols], as matmul.cc lays it out. Bindings 0 and 1.
#include "float16.glsl"

layout(constant_id = 0) const uint encoding = 0;  // mlc::Encoding

layout(std430, set = 0, binding = 0) readonly buffer Values { uint values[]; };
layout(std430, set = 0, binding = 1) readonly buffer Scales { uint scales[]; };

float WeightAt(uint row, uint col, uint cols) {
  if (encoding == 0) return uintBitsToFloat(values[row * ((cols + 3) / 4 * 4) + col]);
  if (encoding == 1) return HalfOf(values[(row * ((cols + 7) / 8 * 8) + col) >> 1], col);
  uint groups = (cols + 31) / 32;
  uint word = values[row * groups * 4 + col / 8];
  uint group = row * groups + col / 32;
  float scale = encoding == 2 ? HalfOf(scales[group >> 1], group) : uintBitsToFloat(scales[group]);
  return (float((word >> (4 * (col & 7u))) & 15u) - 7.0) * scale;
}
