#pragma once

#include <cstdint>

#include "engine/engine.h"

namespace mlc {

/// Throws std::invalid_argument, naming the field and its range, unless `request` is well formed
/// and fits into `context` tokens of a model with `vocab` tokens.
void CheckRequest(const Request& request, std::int32_t vocab, std::int32_t context);

}  // namespace mlc
