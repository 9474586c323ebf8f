#pragma once

#include <cstddef>
#include <cstdint>

// Included by files that are compiled for one instruction set: nothing here, and nothing that they
// include, may define inline functions outside an anonymous namespace, or the linker could keep the
// copy that needs AVX-512.

namespace mlc::cpu {

/// Query rows (a token and a head each) that attention works on together.
inline constexpr std::int32_t kTileRows = 24;

// kPageTokens and kMostHeadDim, which cannot be included here; attention.cc compares.
inline constexpr std::int32_t kTileTokens = 32;
inline constexpr std::int32_t kTileMostDim = 512;

/// Attention in progress for some rows: softmax-weighted sums of values, not yet divided.
struct AttentionState {
  float* max;       ///< [rows], the largest score so far, -infinity where there was none
  float* sum;       ///< [rows], of exp(score - max)
  float* weighted;  ///< [rows, padded_dim], of exp(score - max) * value
};

/// A tile of query rows of one KV head, and a range of tokens to attend to.
struct AttentionTile {
  std::int32_t rows;  ///< at most kTileRows
  std::int32_t head_dim;
  std::int32_t padded_dim;            ///< head_dim up to a multiple of mlc::kHeadAlign
  float softcap;                      ///< 0: none
  const float* q;                     ///< [rows, head_dim], scaled
  const std::int32_t* visible_begin;  ///< [rows], first token that a row sees
  const std::int32_t* visible_end;    ///< [rows], one past the last

  // The cache: of page p, keys [head_dim, kPageTokens] and values [kPageTokens, padded_dim] at
  // element offset p * page_stride.
  bool half;  ///< float16, else float32
  const void* keys;
  const void* values;
  std::size_t page_stride;
  const std::int32_t* pages;
  std::int32_t token_begin;  ///< a multiple of kPageTokens
  std::int32_t token_end;
};

/// What the operators do with one row or tile, for one instruction set.
struct RowKernels {
  /// out = x / sqrt(mean(x^2) + epsilon) * weight; `out` may be `x`.
  void (*norm)(const float* x, const float* weight, float epsilon, std::int64_t width, float* out);

  /// x += delta
  void (*add)(const float* delta, std::int64_t width, float* x);

  /// out = silu(gate) * up, or gelu_tanh(gate) * up
  void (*silu)(const float* gate, const float* up, std::int64_t width, float* out);
  void (*gelu_tanh)(const float* gate, const float* up, std::int64_t width, float* out);

  /// x = cap * tanh(x / cap)
  void (*cap)(float cap, std::int64_t count, float* x);

  /// Rotates the pairs (x[i], x[half + i]) by angles whose cosines and sines are given.
  void (*rotate)(const float* cosines, const float* sines, std::int64_t half, float* x);

  /// Attends to the tokens of `tile`, and writes the state of doing only that.
  void (*attend)(const AttentionTile& tile, const AttentionState& state);

  /// Merges `part`, of tokens that come later, into `state`.
  void (*merge)(std::int32_t rows, std::int32_t padded_dim, const AttentionState& part,
                const AttentionState& state);
};

extern const RowKernels kPortableRowKernels;
extern const RowKernels kAvx2RowKernels;
extern const RowKernels kAvx512RowKernels;
extern const RowKernels kNeonRowKernels;

/// Those of ChooseIsa().
const RowKernels& ChooseRowKernels();

}  // namespace mlc::cpu
