// x against 4-bit weights: 16-bit integers with a scale for each 32 of them.
const float kMost = 32512.0;  // its upper byte, rounded, is 127

struct Quantized {
  uvec4
      words;   // of 8 values: the upper bytes of the even and of the odd ones, then the lower bytes
  vec2 scale;  // of 32 values, and 7 times the sum of the integers
};

uint Pack(ivec4 bytes) {
  uvec4 b = uvec4(bytes) & 0xffu;
  return b.x | (b.y << 8) | (b.z << 16) | (b.w << 24);
}

int SumOf(ivec4 v) { return v.x + v.y + v.z + v.w; }

// Four neighbouring invocations have 8 values each of the same 32. All of a workgroup take part.
Quantized Quantize(vec4 a, vec4 b) {
  vec4 size = max(abs(a), abs(b));
  float most = max(max(size.x, size.y), max(size.z, size.w));
  most = max(most, FlipLanes(most, 1));
  most = max(most, FlipLanes(most, 2));
  float factor = most > 1e-30 ? kMost / most : 0.0;  // else it may be infinite
  ivec4 low = ivec4(roundEven(a * factor)), high = ivec4(roundEven(b * factor));
  float sum = float(SumOf(low) + SumOf(high));
  sum += FlipLanes(sum, 1);
  sum += FlipLanes(sum, 2);
  ivec4 even = ivec4(low.xz, high.xz), odd = ivec4(low.yw, high.yw);
  return Quantized(uvec4(Pack((even + 128) >> 8), Pack((odd + 128) >> 8), Pack(even), Pack(odd)),
                   vec2(most / kMost, 7.0 * sum));
}
