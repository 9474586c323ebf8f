#include "model/config.h"

#include <cmath>
#include <stdexcept>
#include <string_view>

namespace mlc {
namespace {

// Beyond any model there is, and small enough that no product of two overflows.
constexpr std::int32_t kMostWidth = 1 << 20;
constexpr std::int32_t kMostLayers = 1 << 12;
constexpr std::int32_t kMostHeads = 1 << 10;
constexpr std::int32_t kMostVocab = 1 << 24;

[[noreturn]] void Refuse(std::string_view field, const std::string& wanted) {
  throw std::invalid_argument("The model's " + std::string(field) + " must be " + wanted + ".");
}

void CheckRange(std::string_view field, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value < least || value > most) {
    Refuse(field, "from " + std::to_string(least) + " to " + std::to_string(most) + ", but it is " +
                      std::to_string(value));
  }
}

void CheckNumber(std::string_view field, float value, bool zero_allowed) {
  if (!std::isfinite(value) || value < 0 || (value == 0 && !zero_allowed)) {
    Refuse(field, std::string("a finite number ") + (zero_allowed ? "of at least" : "above") +
                      " zero, but it is " + std::to_string(value));
  }
}

}  // namespace

void ModelConfig::Check() const {
  CheckRange("hidden", hidden, 1, kMostWidth);
  CheckRange("intermediate", intermediate, 1, kMostWidth);
  CheckRange("layers", layers, 1, kMostLayers);
  CheckRange("heads", heads, 1, kMostHeads);
  CheckRange("kv_heads", kv_heads, 1, heads);
  if (heads % kv_heads != 0) Refuse("heads", "a multiple of kv_heads");
  CheckRange("head_dim", head_dim, 1, kMostHeadDim);
  CheckRange("vocab", vocab, 1, kMostVocab);
  CheckRange("rotary_dim", rotary_dim, 0, head_dim);
  if (rotary_dim % 2 != 0) Refuse("rotary_dim", "even");
  CheckNumber("norm_epsilon", norm_epsilon, true);
  CheckNumber("embed_scale", embed_scale, false);
  CheckNumber("attention_scale", attention_scale, false);
  CheckNumber("attention_softcap", attention_softcap, true);
  CheckNumber("logit_softcap", logit_softcap, true);
  CheckNumber("rotary_scale", rotary_scale, false);

  const auto count = static_cast<std::size_t>(layers);
  if (windows.size() != count) Refuse("windows", "one number for each layer");
  for (const std::int32_t window : windows) CheckRange("windows", window, 0, INT32_MAX);
  if (rotary_tables.size() != count) Refuse("rotary_tables", "one number for each layer");
  const auto tables = static_cast<std::int64_t>(inverse_frequencies.size());
  for (const std::int32_t table : rotary_tables) CheckRange("rotary_tables", table, 0, tables - 1);
  for (const std::vector<float>& table : inverse_frequencies) {
    if (table.size() != static_cast<std::size_t>(rotary_dim / 2)) {
      Refuse("inverse_frequencies", "rows of rotary_dim / 2 numbers");
    }
    for (const float frequency : table) CheckNumber("inverse_frequencies", frequency, true);
  }
}

}  // namespace mlc
