// What is new in attend_one.comp: q of kHeads heads, and k and v, which count as two more heads.
// A lane group takes a head at a time.
const uint kPairs = (kDim / 2 + kLanes - 1) / kLanes;  // of dimensions, that an invocation holds
vec2 new_pairs[kPairs];
vec2 new_norms[kPairs];
float new_frequencies[kPairs];

// Normed and rotated. Fours that make a unit of 8 halves lie apart, so that lanes side by side read
// from banks side by side.
shared vec4 fresh[(kHeads + 2) * kFours];
shared float fresh_scores[kHeads];

uint Place(uint head, uint four) {
  return head * kFours + (kHalf ? four % 2 * (kFours / 2) + four / 2 : four);
}

// Work that is not a token's falls to the last lane groups first: they are the last to have tokens.
uint Turn() { return kGroups - 1 - LaneGroup(); }

// Those that rotate are half of rotary_dim apart.
uvec2 DimensionsOfPair(uint head, uint pair) {
  bool rotates = head <= kHeads && pair < rotary_dim / 2;
  return rotates ? uvec2(pair, pair + rotary_dim / 2) : uvec2(2 * pair, 2 * pair + 1);
}

// The head's place in qkv. Of q, heads beyond `count` are the last one again; so is v for lane
// groups that have none.
uint HeadOf(uint head) {
  return head < kHeads ? first_head + min(head, count - 1)
                       : (kShared + min(head - kHeads, 1)) * kv_heads + kv_head;
}

vec2 LookAtPair(uint which, uvec2 at) {
  uint first = which * head_dim;
  if (kOverlaps && overlap.x != 0) {
    return vec2(Look(overlap.x, first + at.x), Look(overlap.x, first + at.y));
  }
  first += row * (kShared + 2) * kv_heads * head_dim;
  return vec2(qkv[first + at.x], qkv[first + at.y]);
}

void AskForNew(uint head) {
  uint which = HeadOf(head);
  [[unroll]] for (uint i = 0; i < kPairs; ++i) {
    uint pair = i * kLanes + Lane();
    uvec2 at = min(DimensionsOfPair(head, pair), uvec2(head_dim - 1));
    new_pairs[i] = LookAtPair(which, at);
    new_frequencies[i] = frequencies[min(pair, max(rotary_dim / 2, 1) - 1)];
    if (kNorms) {
      new_norms[i] =
          head < kHeads ? vec2(q_norm[at.x], q_norm[at.y]) : vec2(k_norm[at.x], k_norm[at.y]);
    }
  }
}

void AwaitNew(uint head) {
  if (!kOverlaps || overlap.x == 0) return;
  for (uint looks = 1;; ++looks) {
    bool missing = false;
    [[unroll]] for (uint i = 0; i < kPairs; ++i)
      missing = missing || IsNothing(new_pairs[i].x) || IsNothing(new_pairs[i].y);
    if (!missing || GivesUp(looks)) break;
    [[unroll]] for (uint i = 0; i < kPairs; ++i) {
      uvec2 at = min(DimensionsOfPair(head, i * kLanes + Lane()), uvec2(head_dim - 1));
      new_pairs[i] = LookAtPair(HeadOf(head), at);
    }
  }
}

void Rotate(uint head) {
  float square = 0.0;
  [[unroll]] for (uint i = 0; i < kPairs; ++i) {
    uvec2 at = DimensionsOfPair(head, i * kLanes + Lane());
    vec2 x = mix(vec2(0.0), new_pairs[i], lessThan(at, uvec2(head_dim)));
    square = fma(x.x, x.x, fma(x.y, x.y, square));
    new_pairs[i] = x;
  }
  float factor = kNorms ? 1.0 / sqrt(SumOfLanes(square) / float(head_dim) + epsilon) : 1.0;
  [[unroll]] for (uint i = 0; i < kPairs; ++i) {
    uint pair = i * kLanes + Lane();
    vec2 x = new_pairs[i];
    if (kNorms && head <= kHeads) x *= factor * new_norms[i];
    if (head <= kHeads && pair < rotary_dim / 2) {
      vec2 turn = rotary_scale * Rotation(position, new_frequencies[i]);
      x = vec2(fma(x.x, turn.x, -(x.y * turn.y)), fma(x.y, turn.x, x.x * turn.y));
    }
    if (head < kHeads) {
      x *= scale;
    } else if (kHalf) {
      x = unpackHalf2x16(PackHalves(x.x, x.y));  // what the cache makes of it
    }
    uvec2 at = DimensionsOfPair(head, pair);
    if (head < kHeads + 2 && pair < kDim / 2) {
      fresh[Place(head, at.x / 4)][at.x % 4] = x.x;
      fresh[Place(head, at.y / 4)][at.y % 4] = x.y;
    }
  }
}

// Brings what is new to the cache. Other workgroups of the same key head, if any, store the same.
void Store(uint page) {
  const uint words = kDim / (kHalf ? 2 : 1);
  uint first = TokenWord(page, kv_heads, kv_head, position, kDim);
  for (uint i = kTotal - 1 - lane_id; i < 2 * words; i += kTotal) {
    uint at = i % words * (kHalf ? 2 : 1);
    vec4 four = fresh[Place(i < words ? kHeads : kHeads + 1, at / 4)];
    uint word = floatBitsToUint(four[at % 4]);
    if (kHalf) word = packHalf2x16(at % 4 == 0 ? four.xy : four.zw);
    if (i < words) {
      key_words[first + i] = word;
    } else {
      value_words[first + i - words] = word;
    }
  }
}

// The scores of what is new.
void ScoreFresh(bool has_new) {
  [[unroll]] for (uint i = 0; i < (kHeads + kGroups - 1) / kGroups; ++i) {
    uint head = i * kGroups + Turn();
    float sum = 0.0;
    [[unroll]] for (uint j = 0; j < (kFours + kLanes - 1) / kLanes; ++j) {
      uint four = j * kLanes + Lane(), at = min(four, kFours - 1);
      vec4 q = four < kFours ? fresh[min(head, kHeads) * kFours + at] : vec4(0.0);
      sum = AddProduct(q, fresh[kHeads * kFours + at], sum);
    }
    sum = SumOfLanes(sum);
    if (head < kHeads && Lane() == 0) fresh_scores[head] = has_new ? Cap(sum) : kLeast;
  }
}
