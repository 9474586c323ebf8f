#pragma once

#include <cstdint>
#include <vector>

#include "runtime/backend.h"

namespace mlc {

/// Shape and switches of a decoder-only transformer; the families differ in nothing else.
struct ModelConfig {
  std::int32_t hidden = 0;
  std::int32_t intermediate = 0;
  std::int32_t layers = 0;
  std::int32_t heads = 0;
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0;
  std::int32_t vocab = 0;
  float norm_epsilon = 1e-5f;
  Activation activation = Activation::kSilu;
  float embed_scale = 1;        ///< Gemma: sqrt(hidden)
  float attention_scale = 1;    ///< usually 1 / sqrt(head_dim)
  float attention_softcap = 0;  ///< Gemma 2
  float logit_softcap = 0;      ///< Gemma 2
  std::int32_t rotary_dim = 0;  ///< of head_dim
  float rotary_scale = 1;
  bool half_cache = false;                              ///< keys and values in float16
  std::vector<std::int32_t> windows;                    ///< [layers], 0 for full attention
  std::vector<std::int32_t> rotary_tables;              ///< [layers], which of inverse_frequencies
  std::vector<std::vector<float>> inverse_frequencies;  ///< each [rotary_dim / 2]

  /// Throws std::invalid_argument, naming the field, when a shape is impossible or beyond reason.
  void Check() const;
};

}  // namespace mlc
