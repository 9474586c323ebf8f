// What decoding and prompts share: the cache [page, kv_head, token, padded_dim], and rotation.
const float kTwoPi = 6.28125, kTwoPiRest = 0.0019353071795864769;

// (cos, sin), of angles far beyond a period too: shaders need not be exact there.
vec2 Rotation(uint position, float frequency) {
  float angle = float(position) * frequency;
  float turns = roundEven(angle * 0.15915494309189535);
  angle = fma(-turns, kTwoPiRest, fma(-turns, kTwoPi, angle));
  return vec2(cos(angle), sin(angle));
}

// The first word of a token's keys or values; float16 pairs, or floats.
uint TokenWord(uint page, uint kv_heads, uint kv_head, uint token, uint padded_dim) {
  uint at = ((page * kv_heads + kv_head) * 32 + token % 32) * padded_dim;
  return kHalf ? at / 2 : at;
}
