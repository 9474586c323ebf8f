#include "model/check_batch.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace mlc {
namespace {

[[noreturn]] void Refuse(const std::string& message) { throw std::invalid_argument(message); }

/// Checks one sequence and appends the pages that it writes to `written`.
void CheckSequence(const BatchSequence& sequence, const KvLayout& cache,
                   std::vector<std::int32_t>& written) {
  if (sequence.rows < 1) Refuse("A sequence of the batch has no rows.");
  if (sequence.past < 0) Refuse("A sequence of the batch has a negative past.");
  const std::int64_t tokens = std::int64_t{sequence.past} + sequence.rows;
  const std::int64_t wanted = (tokens + kPageTokens - 1) / kPageTokens;
  if (static_cast<std::int64_t>(sequence.pages.size()) < wanted) {
    Refuse("A sequence of " + std::to_string(tokens) + " tokens needs " + std::to_string(wanted) +
           " pages, but has " + std::to_string(sequence.pages.size()) + ".");
  }
  for (const std::int32_t page : sequence.pages) {
    if (page < 0 || page >= cache.pages) {
      Refuse("There is no page " + std::to_string(page) + " in a cache of " +
             std::to_string(cache.pages) + " pages.");
    }
  }
  for (std::int64_t page = sequence.past / kPageTokens; page < wanted; ++page) {
    written.push_back(sequence.pages[static_cast<std::size_t>(page)]);
  }
}

}  // namespace

void CheckBatch(const Batch& batch, std::int32_t vocab, std::int32_t max_rows,
                const KvLayout& cache) {
  if (batch.tokens.empty() || batch.tokens.size() > static_cast<std::size_t>(max_rows)) {
    Refuse("A batch must have from 1 to " + std::to_string(max_rows) + " tokens, but it has " +
           std::to_string(batch.tokens.size()) + ".");
  }
  for (const std::int32_t token : batch.tokens) {
    if (token < 0 || token >= vocab) {
      Refuse("There is no token " + std::to_string(token) + " in a vocabulary of " +
             std::to_string(vocab) + ".");
    }
  }

  std::vector<std::int32_t> written;
  std::int64_t row = 0;
  for (const BatchSequence& sequence : batch.sequences) {
    if (sequence.first_row != row) Refuse("The sequences of a batch must follow one another.");
    CheckSequence(sequence, cache, written);
    row += sequence.rows;
  }
  if (row != batch.rows()) {
    Refuse("The sequences of the batch have " + std::to_string(row) + " rows for " +
           std::to_string(batch.rows()) + " tokens.");
  }
  std::sort(written.begin(), written.end());
  const auto twice = std::adjacent_find(written.begin(), written.end());
  if (twice != written.end()) {
    Refuse("Page " + std::to_string(*twice) + " would be written by two rows at once.");
  }

  std::int32_t last = -1;
  for (const std::int32_t logit_row : batch.logit_rows) {
    if (logit_row <= last || logit_row >= batch.rows()) {
      Refuse("logit_rows must ascend and be rows of the batch, but one is " +
             std::to_string(logit_row) + ".");
    }
    last = logit_row;
  }
}

}  // namespace mlc
