#version 460
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#ifdef DOT
#extension GL_EXT_integer_dot_product : require
#endif
// out = epilogue(norm(x) W^T) for a few rows of x; W is read once, 16 bytes at a time.
//
// A workgroup brings x to shared memory; of several rows stage.comp has made what goes there, so
// that not every workgroup must (kPrepared). Then teams of kSpan subgroups go their own ways, each
// with kRows rows of W, its invocations side by side along K. What they take at a time is a block,
// and they may take several, one after another. The sum of one result is taken in the same order
// whatever kRows, kColumns, kPiece and kBlocks are.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint kLanes = 32;  // of a subgroup; at least 4
layout(constant_id = 2) const uint kSpan = 1;
layout(constant_id = 3) const uint kRows = 4;  // even for a gate
layout(constant_id = 4) const uint kColumns = 1;
layout(constant_id = 5) const uint kUnits = 64;  // of 16 bytes, in a row of W
layout(constant_id = 6) const uint kPiece = 64;  // units whose x is in shared memory at a time
layout(constant_id = 7) const uint kEncoding = 0;
layout(constant_id = 8) const uint kEpilogue = 0;
layout(constant_id = 9) const bool kNorm = false;
layout(constant_id = 10) const bool kAligned = true;    // rows of x are at multiples of 16 bytes
layout(constant_id = 11) const bool kPrepared = false;  // else kNorm is for one row of x alone
layout(constant_id = 12) const uint kAhead = 1;         // units of each row that are on their way
layout(constant_id = 13) const uint kPatience = 0;      // of overlap.glsl: looks at a result
layout(constant_id = 14) const uint kBlocks =
    1;  // of a workgroup, at most; if more than 1, kPieces is 1
layout(constant_id = 15) const bool kWhole = false;  // a team has kRows rows, or none
#define BOARD 6

#include "lanes.glsl"
#include "overlap.glsl"
#include "product.glsl"

const uint kTotal = gl_WorkGroupSize.x;
const uint kSubgroups = kTotal / kLanes;
const uint kTeams = kSubgroups / kSpan;
const uint kWide = kSpan * kLanes;  // invocations of a team
const uint kChunks = (kPiece + kWide - 1) / kWide;
const uint kPieces = (kUnits + kPiece - 1) / kPiece;
const uint kSteps = kPieces * kChunks;
const uint kNext = kAhead * kRows;

shared float squares[kNorm ? kSubgroups : 1];
shared float partial[kBlocks * kRows * kColumns * kSubgroups];

float sums[kRows * kColumns];
float square = 0.0;
uvec4 next[kNext];
uint next_scale[kNext];  // the words that have them

// Of the workgroup's columns. Where x is prepared, that has the rows of this product alone.
uint RowOfX(uint column) {
  return (kPrepared ? 0 : first_x) + min(gl_WorkGroupID.y * kColumns + column, columns - 1);
}

// What has not been looked at yet.
vec4 NotSeen() { return uintBitsToFloat(uvec4(kNothing)); }

bool Missing(vec4 value) { return kOverlaps && overlap.x != 0 && HasNothing(value); }

// What LoadX gives, of the row on the board if there is one; nothing new where all was `seen`.
vec4 LookAtX(uint row, uint i, vec4 seen) {
  if (4 * i >= cols) return vec4(0.0);
  if (!kOverlaps || overlap.x == 0) return LoadX(row, i);
  if (!Missing(seen)) return seen;
  vec4 value = uintBitsToFloat(board_fours[overlap.x + i]);
  [[unroll]] for (uint k = 0; k < 4; ++k) {
    if (!kAligned && 4 * i + k >= cols) value[k] = 0.0;
  }
  return value;
}

// What is added to a result, given what was seen of it.
float AwaitAddend(uvec2 at, float value) {
  if (!kOverlaps || kEpilogue != kAdd || overlap.addend == 0) return value;
  for (uint looks = 1; IsNothing(value) && !GivesUp(looks); ++looks) value = Addend(at.x, at.y);
  return value;
}

#ifdef Q4
#include "matvec_q4.glsl"
#else
#include "matvec_float.glsl"
#endif

uint LaneOfTeam() { return LaneGroup() % kSpan * kLanes + Lane(); }

// The workgroup's `n`th block.
uint BlockOf(uint n) { return Block() + n * gl_NumWorkGroups.x * gl_NumWorkGroups.z; }

uint CountBlocks() {
  if (kBlocks == 1) return 1;
  uint all = max((rows + kTeams * kRows - 1) / (kTeams * kRows), Block() + 1);
  return (all - 1 - Block()) / (BlockOf(1) - BlockOf(0)) + 1;
}

// The `r`th row of a team in the workgroup's `n`th block; another one where it has none.
uint RowOf(uint n, uint r) {
  uint first = (BlockOf(n) * kTeams + LaneGroup() / kSpan) * kRows;
  return kWhole ? min(first, rows - kRows) + r : min(first + r, rows - 1);
}

// The unit of a row that an invocation takes in a step; another one where it has none.
uint UnitOf(uint step) {
  uint unit = step / kChunks * kPiece + step % kChunks * kWide + LaneOfTeam();
  return kUnits % kPiece == 0 && kPiece % kWide == 0 ? unit : min(unit, kUnits - 1);
}

// Asks for a step of the workgroup's `n`th block.
void Fetch(uint slot, uint n, uint step) {
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    next[slot * kRows + r] = weights[RowOf(n, r) * kUnits + UnitOf(step)];
  }
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    next_scale[slot * kRows + r] = ScaleWord(RowOf(n, r) * kUnits + UnitOf(step));
  }
}

// Only when the word is needed is it taken apart: that waits for it.
float ScaleOf(uint word, uint n, uint r, uint step) {
  return ScaleIn(word, (kUnits % 2 == 0 ? 0 : RowOf(n, r)) + UnitOf(step));
}

float Total(uint item, uint team) {
  float total = 0.0;
  for (uint i = 0; i < kSpan; ++i) total += partial[item * kSubgroups + team * kSpan + i];
  return total;
}

const uint kOfTeam = kGate ? kRows / 2 : kRows;  // results of a team, of one row of x
const uint kOfBlock = kOfTeam * kTeams * kColumns;
const uint kResults = kBlocks * kOfBlock;

// The row of x and the row of the result that result `i` of the workgroup belongs to.
uvec2 RowsOf(uint i) {
  return uvec2(gl_WorkGroupID.y * kColumns + i / (kOfTeam * kTeams) % kColumns,
               (BlockOf(i / kOfBlock) * kTeams + i / kOfTeam % kTeams) * kOfTeam + i % kOfTeam);
}

bool Inside(uvec2 at) { return at.x < columns && at.y < (kGate ? rows / 2 : rows); }

// Puts aside what the lanes found of block `n`.
void Collect(uint n) {
  [[unroll]] for (uint i = 0; i < kRows * kColumns; ++i) {
    float sum = SumOfLanes(sums[i]);
    if (Lane() == 0) partial[(n * kRows * kColumns + i) * kSubgroups + LaneGroup()] = sum;
    sums[i] = 0.0;
  }
}

void Finish(float addend) {
  if (kNorm && !kPrepared) {
    float sum = SumOfLanes(square);
    if (Lane() == 0) squares[LaneGroup()] = sum;
  }
  barrier();

  for (uint i = gl_LocalInvocationID.x; i < kResults; i += kTotal) {
    uint r = i % kOfTeam, team = i / kOfTeam % kTeams, m = i / (kOfTeam * kTeams) % kColumns;
    uint first = i / kOfBlock * kRows * kColumns + m;  // in `partial`
    uvec2 at = RowsOf(i);
    if (!Inside(at)) continue;
    float sum = Total(first + (kGate ? 2 * r : r) * kColumns, team);
    float up = kGate ? Total(first + (2 * r + 1) * kColumns, team) : 0.0;
    if (kNorm) {
      float total = 0.0;
      if (kPrepared) {
        total = PreparedSquare(at.x);
      } else {
        for (uint s = 0; s < kSubgroups; ++s) total += squares[s];
      }
      float factor = 1.0 / sqrt(total / float(cols) + epsilon);
      sum *= factor;
      up *= factor;
    }
    if (i >= kTotal) addend = Addend(at.x, at.y);
    float value = Finished(sum, up, AwaitAddend(at, addend), cap);
    Post(overlap, first_out + at.y, value);
    result[Place(at.x, at.y)] = value;
  }
}

void main() {
  [[unroll]] for (uint i = 0; i < kRows * kColumns; ++i)
    sums[i] = 0.0;
  // Before all else: it takes longest.
  [[unroll]] for (uint slot = 0; slot < kAhead; ++slot) {
    if (slot < kSteps) Fetch(slot, 0, slot);
  }
  float addend = 0.0;
  uvec2 first_result = RowsOf(gl_LocalInvocationID.x);
  if (gl_LocalInvocationID.x < kResults && Inside(first_result)) {
    addend = Addend(first_result.x, first_result.y);
  }
  uint blocks = CountBlocks();
  for (uint n = 0; n < blocks; ++n) {
    for (uint first = 0; first < kSteps; first += kAhead) {
      [[unroll]] for (uint slot = 0; slot < kAhead; ++slot) {
        uint step = first + slot;
        if (step >= kSteps) break;
        if (n == 0 && step % kChunks == 0) {
          if (step > 0) barrier();
          Stage(step / kChunks);
          barrier();
        }
        uvec4 word[kRows];
        float scale[kRows];
        [[unroll]] for (uint r = 0; r < kRows; ++r) {
          word[r] = next[slot * kRows + r];
          scale[r] = ScaleOf(next_scale[slot * kRows + r], n, r, step);
        }
        if (step + kAhead < kSteps) {
          Fetch(slot, n, step + kAhead);
        } else if (n + 1 < blocks) {
          Fetch(slot, n + 1, slot);
        }
        AddUnits(word, scale, step % kChunks * kWide + LaneOfTeam());
      }
    }
    Collect(n);
  }
  Finish(addend);
}
