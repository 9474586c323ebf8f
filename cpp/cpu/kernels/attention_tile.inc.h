#pragma once

// Attention of a tile of rows in terms of Vector. Included by each row_kernels_*.cc, after its
// vector_*.h.
//
// A row's result has the same bits whatever rows share its tile: each score and each weighted value
// is one chain of multiply-adds, over the head's values and over the tokens in order.

#include <cstdint>
#include <limits>

#include "cpu/kernels/elementwise.inc.h"
#include "cpu/kernels/row_kernels.h"

namespace mlc::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// c[rows, columns] (+)= a[rows, depth] * b[depth, columns], for `rows` x `vectors` registers.
template <bool accumulate, int rows, int vectors>
inline void MultiplyBlock(const float* a, std::int32_t a_stride, std::int32_t depth, const float* b,
                          std::int32_t b_stride, float* c, std::int32_t c_stride) {
  Vector sums[rows][vectors];
  for (int r = 0; r < rows; ++r) {
    for (int j = 0; j < vectors; ++j) {
      sums[r][j] = accumulate ? Vector::Load(c + r * c_stride + j * kLanes) : Vector::Broadcast(0);
    }
  }
  for (std::int32_t k = 0; k < depth; ++k) {
    Vector right[vectors];
    for (int j = 0; j < vectors; ++j) right[j] = Vector::Load(b + k * b_stride + j * kLanes);
    for (int r = 0; r < rows; ++r) {
      const Vector left = Vector::Broadcast(a[r * a_stride + k]);
      for (int j = 0; j < vectors; ++j) sums[r][j] = MulAdd(left, right[j], sums[r][j]);
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int j = 0; j < vectors; ++j) sums[r][j].Store(c + r * c_stride + j * kLanes);
  }
}

/// The same for any number of columns that is a multiple of kHeadAlign.
template <bool accumulate, int rows>
inline void MultiplyRows(const float* a, std::int32_t a_stride, std::int32_t depth, const float* b,
                         std::int32_t b_stride, std::int32_t columns, float* c,
                         std::int32_t c_stride) {
  constexpr int kVectors = rows <= 2 ? Vector::kWideBlock : 2;
  std::int32_t column = 0;
  for (; column + kVectors * kLanes <= columns; column += kVectors * kLanes) {
    MultiplyBlock<accumulate, rows, kVectors>(a, a_stride, depth, b + column, b_stride, c + column,
                                              c_stride);
  }
  for (; column < columns; column += kLanes) {
    MultiplyBlock<accumulate, rows, 1>(a, a_stride, depth, b + column, b_stride, c + column,
                                       c_stride);
  }
}

/// The same for any number of rows.
template <bool accumulate>
inline void Multiply(std::int32_t rows, const float* a, std::int32_t a_stride, std::int32_t depth,
                     const float* b, std::int32_t b_stride, std::int32_t columns, float* c,
                     std::int32_t c_stride) {
  while (rows > 0) {
    const auto step = [&](auto multiply, std::int32_t count) {
      multiply(a, a_stride, depth, b, b_stride, columns, c, c_stride);
      a += count * a_stride;
      c += count * c_stride;
      rows -= count;
    };
    if constexpr (Vector::kRegisters >= 16) {
      if (rows >= 6) {
        step(MultiplyRows<accumulate, 6>, 6);
        continue;
      }
      if (rows >= 2) {
        step(MultiplyRows<accumulate, 2>, 2);
        continue;
      }
    }
    step(MultiplyRows<accumulate, 1>, 1);
  }
}

/// Tokens of a page that a row sees: [begin, end), or none.
struct Span {
  std::int32_t begin, end;

  bool empty() const { return begin >= end; }
  bool whole() const { return begin <= 0 && end >= kTileTokens; }
};

/// Turns a page's scores of one row into weights exp(score - max), zero where the row does not see,
/// after raising the max and shrinking what was summed under the old one.
inline void Weigh(Span span, std::int32_t padded_dim, float* scores, float* max, float* sum,
                  float* weighted) {
  if (!span.whole()) {
    for (std::int32_t t = 0; t < span.begin; ++t) scores[t] = kMinusInfinity;
    for (std::int32_t t = span.end; t < kTileTokens; ++t) scores[t] = kMinusInfinity;
  }
  Vector largest = Vector::Load(scores);
  for (std::int32_t t = kLanes; t < kTileTokens; t += kLanes) {
    largest = Max(largest, Vector::Load(scores + t));
  }
  const float page_max = MaxLane(largest);
  if (page_max > *max) {
    float factor[kLanes];
    Exp(Vector::Broadcast(*max - page_max)).Store(factor);
    *sum *= factor[0];
    const Vector shrink = Vector::Broadcast(factor[0]);
    Map(weighted, padded_dim, weighted, [shrink](Vector v) { return Mul(v, shrink); });
    *max = page_max;
  }
  const Vector offset = Vector::Broadcast(*max);
  Map(scores, kTileTokens, scores, [offset](Vector v) { return Exp(Sub(v, offset)); });
  if (!span.whole()) {
    for (std::int32_t t = 0; t < span.begin; ++t) scores[t] = 0;
    for (std::int32_t t = span.end; t < kTileTokens; ++t) scores[t] = 0;
  }
  Vector total = Vector::Load(scores);
  for (std::int32_t t = kLanes; t < kTileTokens; t += kLanes) {
    total = Add(total, Vector::Load(scores + t));
  }
  *sum += AddLanes(total);
}

/// weighted += weights * values for every row, of the tokens that it sees only: those that it does
/// not see may hold anything, NaN as well. All rows do what they all see together.
inline void AddValues(const AttentionTile& tile, const Span* spans, const float* weights,
                      const float* values, float* weighted) {
  const std::int32_t dim = tile.padded_dim;
  Span common = {0, kTileTokens};
  for (std::int32_t r = 0; r < tile.rows; ++r) {
    common.begin = common.begin > spans[r].begin ? common.begin : spans[r].begin;
    common.end = common.end < spans[r].end ? common.end : spans[r].end;
  }
  const auto add = [&](std::int32_t row, std::int32_t rows, Span span) {
    if (span.empty()) return;
    Multiply<true>(rows, weights + row * kTileTokens + span.begin, kTileTokens,
                   span.end - span.begin, values + span.begin * dim, dim, dim, weighted + row * dim,
                   dim);
  };
  if (common.empty()) {
    for (std::int32_t r = 0; r < tile.rows; ++r) add(r, 1, spans[r]);
    return;
  }
  for (std::int32_t r = 0; r < tile.rows; ++r) add(r, 1, {spans[r].begin, common.begin});
  add(0, tile.rows, common);
  for (std::int32_t r = 0; r < tile.rows; ++r) add(r, 1, {common.end, spans[r].end});
}

/// A page's keys or values of one head as float32: in place, or converted into `buffer`.
inline const float* ReadPage(const AttentionTile& tile, const void* base, std::int32_t page,
                             float* buffer) {
  const std::size_t offset = static_cast<std::size_t>(page) * tile.page_stride;
  if (!tile.half) return static_cast<const float*>(base) + offset;
  const std::uint16_t* half = static_cast<const std::uint16_t*>(base) + offset;
  for (std::int32_t i = 0; i < kTileTokens * tile.padded_dim; i += kLanes) {
    Vector::LoadHalf(half + i).Store(buffer + i);
  }
  return buffer;
}

void Attend(const AttentionTile& tile, const AttentionState& state) {
  alignas(64) float buffer[kTileTokens * kTileMostDim];
  alignas(64) float scores[kTileRows * kTileTokens];
  for (std::int32_t r = 0; r < tile.rows; ++r) {
    state.max[r] = kMinusInfinity;
    state.sum[r] = 0;
  }
  for (std::int32_t i = 0; i < tile.rows * tile.padded_dim; ++i) state.weighted[i] = 0;

  for (std::int32_t token = tile.token_begin; token < tile.token_end; token += kTileTokens) {
    Span spans[kTileRows];
    bool seen = false;
    for (std::int32_t r = 0; r < tile.rows; ++r) {
      const std::int32_t begin = tile.visible_begin[r] - token;
      const std::int32_t end = tile.visible_end[r] - token;
      spans[r] = {begin > 0 ? begin : 0, end < kTileTokens ? end : kTileTokens};
      seen = seen || !spans[r].empty();
    }
    if (!seen) continue;

    const std::int32_t page = tile.pages[token / kTileTokens];
    const float* keys = ReadPage(tile, tile.keys, page, buffer);
    Multiply<false>(tile.rows, tile.q, tile.head_dim, tile.head_dim, keys, kTileTokens, kTileTokens,
                    scores, kTileTokens);
    if (tile.softcap > 0) Cap(tile.softcap, tile.rows * kTileTokens, scores);
    for (std::int32_t r = 0; r < tile.rows; ++r) {
      if (spans[r].empty()) continue;
      Weigh(spans[r], tile.padded_dim, scores + r * kTileTokens, state.max + r, state.sum + r,
            state.weighted + r * tile.padded_dim);
    }
    AddValues(tile, spans, scores, ReadPage(tile, tile.values, page, buffer), state.weighted);
  }
}

void Merge(std::int32_t rows, std::int32_t padded_dim, const AttentionState& part,
           const AttentionState& state) {
  for (std::int32_t r = 0; r < rows; ++r) {
    if (part.sum[r] == 0) continue;  // a maximum of -infinity may also mean scores that are NaN
    const float max = part.max[r] > state.max[r] ? part.max[r] : state.max[r];
    float factors[2][kLanes];
    Exp(Vector::Broadcast(state.max[r] - max)).Store(factors[0]);
    Exp(Vector::Broadcast(part.max[r] - max)).Store(factors[1]);
    const float old_factor = state.sum[r] == 0 ? 0 : factors[0][0];
    const Vector old_scale = Vector::Broadcast(old_factor);
    const Vector new_scale = Vector::Broadcast(factors[1][0]);
    state.sum[r] = state.sum[r] * old_factor + part.sum[r] * factors[1][0];
    state.max[r] = max;
    float* weighted = state.weighted + r * padded_dim;
    Map(weighted, part.weighted + r * padded_dim, padded_dim, weighted,
        [=](Vector a, Vector b) { return MulAdd(b, new_scale, Mul(a, old_scale)); });
  }
}

}  // namespace
}  // namespace mlc::cpu
