#pragma once

#include <cstdint>

#include "runtime/backend.h"

namespace mlc {

/// Throws std::invalid_argument, saying what is wrong, unless every token, position, row and page
/// of `batch` is in range and no two rows write the same page of different sequences.
void CheckBatch(const Batch& batch, std::int32_t vocab, std::int32_t max_rows,
                const KvLayout& cache);

}  // namespace mlc
