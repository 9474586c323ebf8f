// 4-bit weights. x counts as 16-bit integers with a scale per 32 values: sums over them are exact,
// and a device with integer dot products does four products at once.
#include "quantize.glsl"

const uint kVectors = 4;                        // for each unit of W
const uint kStride = (kPiece + 7) / 8 * 8 + 2;  // keeps what neighbours write off the same banks
shared uvec4 staged[kColumns * kVectors * kStride];
shared vec2 staged_scale[kColumns * kPiece];

// Of stage.comp: [row, vector, unit], and [row, unit] with one more for the sum of squares.
layout(std430, set = 0, binding = 2) readonly buffer Prepared { uvec4 prepared[]; };
layout(std430, set = 0, binding = 3) readonly buffer PreparedScales { vec2 prepared_scale[]; };

float PreparedSquare(uint row) { return prepared_scale[row * (kUnits + 1) + kUnits].x; }

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

const uint kAll = kColumns * kVectors * kPiece;
const uint kRounds = (kAll + kTotal - 1) / kTotal;
const uint kAtOnce = kRounds < 4 ? kRounds : 4;  // loads of an invocation before it waits for one

void StageOne(uint piece) {
  for (uint first = 0; first < kAll; first += kAtOnce * kTotal) {
    vec4 a[kAtOnce], b[kAtOnce];
    [[unroll]] for (uint n = 0; n < kAtOnce; ++n)
      a[n] = b[n] = NotSeen();
    uint looks = 0;
    bool missing;
    do {
      missing = false;
      [[unroll]] for (uint n = 0; n < kAtOnce; ++n) {
        uint i = first + n * kTotal + gl_LocalInvocationID.x;
        uint at = 2 * (piece * kAll + i);
        a[n] = i < kAll ? LookAtX(RowOfX(0), at, a[n]) : vec4(0.0);
        b[n] = i < kAll ? LookAtX(RowOfX(0), at + 1, b[n]) : vec4(0.0);
      }
      [[unroll]] for (uint n = 0; n < kAtOnce; ++n)
        missing = missing || Missing(a[n]) || Missing(b[n]);
    } while (missing && !GivesUp(++looks));
    [[unroll]] for (uint n = 0; n < kAtOnce; ++n) {
      uint i = first + n * kTotal + gl_LocalInvocationID.x;
      uint at = 2 * (piece * kAll + i);
      square = Dot(b[n], b[n], Dot(a[n], a[n], square));
      if (kNorm && i < kAll) {
        a[n] *= LoadNorm(at);
        b[n] *= LoadNorm(at + 1);
      }
      Quantized quantized = Quantize(a[n], b[n]);
      if (i >= kAll) continue;
      uint unit = i / kVectors;
      staged[i % kVectors * kStride + unit] = quantized.words;
      if (i % kVectors == 0) staged_scale[unit] = quantized.scale;
    }
  }
}

void StagePrepared(uint piece) {
  for (uint first = 0; first < kAll; first += kAtOnce * kTotal) {
    uvec4 value[kAtOnce];
    [[unroll]] for (uint n = 0; n < kAtOnce; ++n) {
      uint i = min(first + n * kTotal + gl_LocalInvocationID.x, kAll - 1);
      uint row = RowOfX(i / (kVectors * kPiece)) * kVectors + i / kPiece % kVectors;
      value[n] = prepared[row * kUnits + min(piece * kPiece + i % kPiece, kUnits - 1)];
    }
    [[unroll]] for (uint n = 0; n < kAtOnce; ++n) {
      uint i = first + n * kTotal + gl_LocalInvocationID.x;
      if (i < kAll) staged[i / kPiece * kStride + i % kPiece] = value[n];
    }
  }
  for (uint i = gl_LocalInvocationID.x; i < kColumns * kPiece; i += kTotal) {
    uint unit = piece * kPiece + i % kPiece;
    vec2 scale = prepared_scale[RowOfX(i / kPiece) * (kUnits + 1) + min(unit, kUnits - 1)];
    staged_scale[i] = unit < kUnits ? scale : vec2(0.0);
  }
}

void Stage(uint piece) {
  if (kPrepared) {
    StagePrepared(piece);
  } else {
    StageOne(piece);
  }
}

// One row of x after another, so that they share registers.
void AddUnits(uvec4 word[kRows], float scale[kRows], uint unit) {
  bool inside = kPiece % kWide == 0 || unit < kPiece;
  uint at = min(unit, kPiece - 1);
  [[unroll]] for (uint m = 0; m < kColumns; ++m) {
    int upper[kRows];
    int lower[kRows];
    [[unroll]] for (uint r = 0; r < kRows; ++r)
      upper[r] = lower[r] = 0;
    [[unroll]] for (uint j = 0; j < kVectors; ++j) {
      uvec4 value = staged[(m * kVectors + j) * kStride + at];
      [[unroll]] for (uint r = 0; r < kRows; ++r) {
        uint even = word[r][j] & 0x0f0f0f0fu;
        uint odd = (word[r][j] >> 4) & 0x0f0f0f0fu;
        upper[r] = Dot4(odd, value.y, Dot4(even, value.x, upper[r]));
        lower[r] = Dot4(odd, value.w, Dot4(even, value.z, lower[r]));
      }
    }
    vec2 unit_scale = staged_scale[m * kPiece + at];
    if (!inside) unit_scale.x = 0.0;
    [[unroll]] for (uint r = 0; r < kRows; ++r) {
      uint i = r * kColumns + m;
      // sum((nibble - 7) * x) = sum(nibble * x) - 7 * sum(x); both are below 2^24
      float sum = float((upper[r] << 8) + lower[r]) - unit_scale.y;
      sums[i] = fma(sum, scale[r] * unit_scale.x, sums[i]);
    }
  }
}
