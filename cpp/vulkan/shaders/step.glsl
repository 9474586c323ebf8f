// What differs between two runs of a recording; step.cc writes it. STEP_BINDING is its binding.
layout(std430, set = 0, binding = STEP_BINDING) readonly buffer Step { uint step_words[]; };

uint StepToken(uint row) { return step_words[4 + 4 * row]; }
uint StepPosition(uint row) { return step_words[4 + 4 * row + 1]; }

// The page of the cache that holds a token of the sequence of `row`, by its position.
uint StepPage(uint row, uint position) {
  return step_words[step_words[4 + 4 * row + 2] + position / 32];
}

uint StepLogitRow(uint index) { return step_words[step_words[0] + index]; }

// A field of a row's TokenQuery: 1 / temperature, best, share, first adjustment, their number.
uint StepQuery(uint index, uint field) { return step_words[step_words[1] + 8 * index + field]; }
