#include "vulkan/features.h"

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <string_view>

namespace mlc::vulkan {
namespace {

struct NamedFeature {
  std::string_view name;
  bool Features::* field;
};
constexpr NamedFeature kFeatures[] = {
    {"subgroup-shuffle", &Features::subgroup_shuffle},
    {"subgroup-size-control", &Features::subgroup_size_control},
    {"float16", &Features::float16},
    {"integer-dot-product", &Features::dot_product},
    {"cooperative-matrix", &Features::cooperative_matrix},
    {"memory-budget", &Features::memory_budget},
    {"overlapping-dispatches", &Features::overlapping_dispatches},
};

struct NamedLimit {
  std::string_view name;
  void (*lower)(Limits& limits, std::uint64_t value);
};
constexpr NamedLimit kLimits[] = {
    {"operations",
     [](Limits& limits, std::uint64_t value) {
       limits.operations = std::min(limits.operations, value);
       limits.matrix_operations = std::min(limits.matrix_operations, value);
     }},
    {"buffer-range",
     [](Limits& limits, std::uint64_t value) {
       limits.buffer_range = std::min(limits.buffer_range, value);
     }},
    {"allocation",
     [](Limits& limits, std::uint64_t value) {
       limits.allocation = std::min(limits.allocation, value);
     }},
    {"invocations",
     [](Limits& limits, std::uint64_t value) {
       limits.invocations =
           static_cast<std::uint32_t>(std::min<std::uint64_t>(limits.invocations, value));
     }},
    {"shared-bytes",
     [](Limits& limits, std::uint64_t value) {
       limits.shared_bytes =
           static_cast<std::uint32_t>(std::min<std::uint64_t>(limits.shared_bytes, value));
     }},
};

[[noreturn]] void RefuseName(std::string_view name) {
  std::string known;
  for (const NamedFeature& feature : kFeatures) known += std::string(feature.name) + ", ";
  for (const NamedLimit& limit : kLimits) known += std::string(limit.name) + "=N, ";
  known.resize(known.size() - 2);
  throw std::invalid_argument("MLC_LLM_VULKAN_HIDE knows no \"" + std::string(name) +
                              "\": it takes " + known + ".");
}

void HideOne(std::string_view item, Capabilities& capabilities) {
  const std::size_t equals = item.find('=');
  if (equals == std::string_view::npos) {
    const auto* found = std::ranges::find(kFeatures, item, &NamedFeature::name);
    if (found == std::end(kFeatures)) RefuseName(item);
    capabilities.features.*(found->field) = false;
    return;
  }
  const auto* found = std::ranges::find(kLimits, item.substr(0, equals), &NamedLimit::name);
  const char* const last = item.data() + item.size();
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(item.data() + equals + 1, last, value);
  if (found == std::end(kLimits) || error != std::errc() || end != last) RefuseName(item);
  found->lower(capabilities.limits, value);
}

}  // namespace

std::vector<std::string> ListFeatures(const Features& features, bool present) {
  std::vector<std::string> names;
  for (const NamedFeature& feature : kFeatures) {
    if (features.*(feature.field) == present) names.emplace_back(feature.name);
  }
  return names;
}

void Hide(const std::string& hidden, Capabilities& capabilities) {
  std::string_view rest = hidden;
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    if (comma > 0) HideOne(rest.substr(0, comma), capabilities);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  if (!capabilities.features.cooperative_matrix) capabilities.matrices.clear();
}

}  // namespace mlc::vulkan
