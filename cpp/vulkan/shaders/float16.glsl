// float16 without 16-bit storage: halves of 32-bit words.

// Rounds to the nearest float16, ties to even; packHalf2x16 may round towards zero.
uint Half(float value) {
  uint bits = floatBitsToUint(value);
  uint sign = (bits >> 16) & 0x8000u;
  uint size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return 0x7e00u;          // not a number
  if (size >= 0x47800000u) return sign | 0x7c00u;  // 65536 and more
  if (size < 0x38800000u) {
    // Below 2^-14, float16 is a multiple of 2^-24, which is the last bit of a float32 near 0.5.
    return sign | (floatBitsToUint(uintBitsToFloat(size) + 0.5) - floatBitsToUint(0.5));
  }
  size += 0xfffu + ((size >> 13) & 1u);  // a carry may go into the exponent, as it should
  return sign | ((size - 0x38000000u) >> 13);
}

uint PackHalves(float low, float high) { return Half(low) | (Half(high) << 16); }

float HalfOf(uint word, uint index) {
  vec2 pair = unpackHalf2x16(word);
  return (index & 1u) == 0u ? pair.x : pair.y;
}
