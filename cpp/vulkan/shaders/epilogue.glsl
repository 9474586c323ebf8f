#include "capped.glsl"

// What becomes of a product. A gated one has an even row of the matrix, the gate, and the odd one
// behind it.
const uint kStore = 0, kBias = 1, kAdd = 2, kSilu = 3, kGelu = 4, kCap = 5;  // matmul.h
const bool kGate = kEpilogue == kSilu || kEpilogue == kGelu;

// `addend` is the bias, or what is there.
float Finished(float sum, float up, float addend, float cap) {
  if (kEpilogue == kBias || kEpilogue == kAdd) return sum + addend;
  if (kEpilogue == kSilu) return sum / (1.0 + exp(-sum)) * up;
  if (kEpilogue == kGelu) {
    float y = sum * (1.5957691216057308 + 1.5957691216057308 * 0.044715 * sum * sum);
    return sum / (1.0 + exp(-y)) * up;
  }
  if (kEpilogue == kCap) return Capped(sum, cap);
  return sum;
}
