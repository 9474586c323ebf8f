// float16 and float32 weights.
const uint kVectors = kEncoding == kFloat16 ? 2 : 1;  // for each unit of W
const uint kStride = (kPiece + 7) / 8 * 8 + 4;  // keeps what neighbours write off the same banks
shared vec4 staged[kColumns * kVectors * kStride];

// Of stage.comp: x itself, and of each row the sum of squares.
layout(std430, set = 0, binding = 3) readonly buffer PreparedScales { vec2 prepared_scale[]; };

float PreparedSquare(uint row) { return prepared_scale[row].x; }

const uint kEach = kPiece * kVectors, kAll = kColumns * kEach;
const uint kRounds = (kAll + kTotal - 1) / kTotal;
const uint kAtOnce = kRounds < 4 ? kRounds : 4;  // loads of an invocation before it waits for one

void Stage(uint piece) {
  for (uint first = 0; first < kAll; first += kAtOnce * kTotal) {
    vec4 value[kAtOnce];
    [[unroll]] for (uint n = 0; n < kAtOnce; ++n)
      value[n] = NotSeen();
    uint looks = 0;
    bool missing;
    do {
      missing = false;
      [[unroll]] for (uint n = 0; n < kAtOnce; ++n) {
        uint i = min(first + n * kTotal + gl_LocalInvocationID.x, kAll - 1);
        value[n] = LookAtX(RowOfX(i / kEach), piece * kEach + i % kEach, value[n]);
      }
      [[unroll]] for (uint n = 0; n < kAtOnce; ++n)
        missing = missing || Missing(value[n]);
    } while (missing && !GivesUp(++looks));
    [[unroll]] for (uint n = 0; n < kAtOnce; ++n) {
      uint i = first + n * kTotal + gl_LocalInvocationID.x;
      if (i >= kAll) continue;
      if (kNorm && !kPrepared) {
        square = Dot(value[n], value[n], square);
        value[n] *= LoadNorm(piece * kEach + i);
      }
      uint m = i / kEach, at = i % kEach;
      staged[(m * kVectors + at % kVectors) * kStride + at / kVectors] = value[n];
    }
  }
}

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
