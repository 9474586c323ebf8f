// Dispatches that overlap (kPatience > 0): one starts while the one before it still runs, asks for
// what does not depend on that one, and then looks for its results, without a barrier of the queue.
// Each result is posted on a board that says kNothing everywhere at first, so that whoever finds
// anything else has found it. vulkan/recorder.h says what that counts on.
struct Overlap {
  uint x;       // where on the board, in units of 16 bytes, the row is that this dispatch reads
  uint addend;  // and what it adds to its results
  uint to;      // where it posts them; each of the three is 0 where there is none
};
// The first word is not 0 once one has waited in vain.
layout(std430, set = 0, binding = BOARD) volatile coherent buffer Board { uint board[]; };
layout(std430, set = 0, binding = BOARD) volatile coherent buffer BoardFours {
  uvec4 board_fours[];
};

const bool kOverlaps = kPatience > 0;
const uint kNothing = 0xffffffffu;  // a NaN, for which another one is posted

bool IsNothing(float value) { return floatBitsToUint(value) == kNothing; }
bool HasNothing(vec4 value) { return any(equal(floatBitsToUint(value), uvec4(kNothing))); }

void Post(Overlap overlap, uint at, float value) {
  if (!kOverlaps || overlap.to == 0) return;
  board[4 * overlap.to + at] = IsNothing(value) ? 0x7fc00000u : floatBitsToUint(value);
}

float Look(uint place, uint at) { return uintBitsToFloat(board[4 * place + at]); }

// Whether to look no more, having looked so often.
bool GivesUp(uint looks) {
  if (looks == kPatience) board[0] = 1;
  return looks % 1024 == 0 && board[0] != 0;
}
