// float16 and float32 weights.
const uint kVectors = kEncoding == kFloat16 ? 2 : 1;  // for each unit of W
const uint kItem = 1;                           // vectors of x that an invocation stages at a time
const uint kStride = (kPiece + 7) / 8 * 8 + 4;  // keeps what neighbours write off the same banks
shared vec4 staged[kColumns * kVectors * kStride];

void Stage(uint piece) {
  const uint count = kPiece * kVectors;
  [[unroll]] for (uint m = 0; m < kColumns; ++m) {
    for (uint i = gl_LocalInvocationID.x; i < count; i += kTotal) {
      uint at = piece * count + i;
      vec4 value = LoadX(m, at);
      if (kColumns == 1) square[0] = Dot(value, value, square[0]);
      staged[(m * kVectors + i % kVectors) * kStride + i / kVectors] = value * LoadNorm(at);
    }
  }
}

float Scale(uint unit) { return 1.0; }

vec4 Values(uvec4 unit, uint i) {
  if (kEncoding == kFloat32) return uintBitsToFloat(unit);
  return vec4(unpackHalf2x16(unit[2 * i]), unpackHalf2x16(unit[2 * i + 1]));
}

void AddUnits(uvec4 word[kRows], float scale[kRows], uint unit) {
  bool inside = kPiece % kWide == 0 || unit < kPiece;
  uint at = min(unit, kPiece - 1);
  [[unroll]] for (uint j = 0; j < kVectors; ++j) {
    vec4 value[kColumns];
    [[unroll]] for (uint m = 0; m < kColumns; ++m) {
      value[m] = inside ? staged[(m * kVectors + j) * kStride + at] : vec4(0.0);
    }
    [[unroll]] for (uint r = 0; r < kRows; ++r) {
      vec4 v = Values(word[r], j);
      [[unroll]] for (uint m = 0; m < kColumns; ++m) {
        sums[r * kColumns + m] = Dot(v, value[m], sums[r * kColumns + m]);
      }
    }
  }
}
