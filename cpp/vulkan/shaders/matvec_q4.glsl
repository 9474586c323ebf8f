// 4-bit weights. x counts as 16-bit integers with a scale per 32 values: sums over them are exact,
// and a device with integer dot products does four products at once.
const uint kVectors = 4;                        // for each unit of W
const uint kItem = 2;                           // vectors of x that an invocation stages at a time
const uint kStride = (kPiece + 7) / 8 * 8 + 2;  // keeps what neighbours write off the same banks
// Of 8 values: the upper bytes of the even and of the odd ones, then the lower bytes.
shared uvec4 staged[kColumns * kVectors * kStride];
shared vec2 staged_scale[kColumns * kPiece];  // and 7 times the sum of the integers

const float kMost = 32512.0;  // its upper byte, rounded, is 127

int Dot4(uint a, uint b, int sum) {
#ifdef DOT
  return dotPacked4x8EXT(int(a), int(b)) + sum;
#else
  for (int i = 0; i < 32; i += 8) {
    sum += bitfieldExtract(int(a), i, 8) * bitfieldExtract(int(b), i, 8);
  }
  return sum;
#endif
}

uint Pack(ivec4 bytes) {
  uvec4 b = uvec4(bytes) & 0xffu;
  return b.x | (b.y << 8) | (b.z << 16) | (b.w << 24);
}

int SumOf(ivec4 v) { return v.x + v.y + v.z + v.w; }

void Stage(uint piece) {
  const uint count = kPiece * kVectors;
  [[unroll]] for (uint m = 0; m < kColumns; ++m) {
    for (uint first = 0; first < count; first += kTotal) {
      uint i = first + gl_LocalInvocationID.x;
      uint at = 2 * (piece * count + i);
      vec4 a = vec4(0.0), b = vec4(0.0);
      if (i < count) {
        a = LoadX(m, at);
        b = LoadX(m, at + 1);
        if (kColumns == 1) square[0] = Dot(b, b, Dot(a, a, square[0]));
        a *= LoadNorm(at);
        b *= LoadNorm(at + 1);
      }
      vec4 size = max(abs(a), abs(b));
      float most = max(max(size.x, size.y), max(size.z, size.w));
      most = max(most, FlipLanes(most, 1));
      most = max(most, FlipLanes(most, 2));
      float factor = most > 0.0 ? kMost / most : 0.0;
      ivec4 low = ivec4(roundEven(a * factor)), high = ivec4(roundEven(b * factor));
      float sum = float(SumOf(low) + SumOf(high));
      sum += FlipLanes(sum, 1);
      sum += FlipLanes(sum, 2);
      if (i >= count) continue;
      ivec4 even = ivec4(low.xz, high.xz), odd = ivec4(low.yw, high.yw);
      uint unit = i / kVectors;
      staged[(m * kVectors + i % kVectors) * kStride + unit] =
          uvec4(Pack((even + 128) >> 8), Pack((odd + 128) >> 8), Pack(even), Pack(odd));
      if (i % kVectors == 0) staged_scale[m * kPiece + unit] = vec2(most / kMost, 7.0 * sum);
    }
  }
}

float Scale(uint unit) {
  if (kEncoding == kQ4Float32) return uintBitsToFloat(scales[unit]);
  vec2 pair = unpackHalf2x16(scales[unit >> 1]);
  return (unit & 1) == 0 ? pair.x : pair.y;
}

void AddUnits(uvec4 word[kRows], float scale[kRows], uint unit) {
  bool inside = kPiece % kWide == 0 || unit < kPiece;
  uint at = min(unit, kPiece - 1);
  int upper[kRows * kColumns];
  int lower[kRows * kColumns];
  [[unroll]] for (uint i = 0; i < kRows * kColumns; ++i)
    upper[i] = lower[i] = 0;
  [[unroll]] for (uint j = 0; j < kVectors; ++j) {
    uvec4 value[kColumns];
    [[unroll]] for (uint m = 0; m < kColumns; ++m) {
      value[m] = staged[(m * kVectors + j) * kStride + at];
    }
    [[unroll]] for (uint r = 0; r < kRows; ++r) {
      uint even = word[r][j] & 0x0f0f0f0fu;
      uint odd = (word[r][j] >> 4) & 0x0f0f0f0fu;
      [[unroll]] for (uint m = 0; m < kColumns; ++m) {
        uint i = r * kColumns + m;
        upper[i] = Dot4(odd, value[m].y, Dot4(even, value[m].x, upper[i]));
        lower[i] = Dot4(odd, value[m].w, Dot4(even, value[m].z, lower[i]));
      }
    }
  }
  [[unroll]] for (uint m = 0; m < kColumns; ++m) {
    vec2 unit_scale = staged_scale[m * kPiece + at];
    if (!inside) unit_scale.x = 0.0;
    [[unroll]] for (uint r = 0; r < kRows; ++r) {
      uint i = r * kColumns + m;
      // sum((nibble - 7) * x) = sum(nibble * x) - 7 * sum(x); both are below 2^24
      float sum = float((upper[i] << 8) + lower[i]) - unit_scale.y;
      sums[i] = fma(sum, scale[r] * unit_scale.x, sums[i]);
    }
  }
}
