#include "vulkan/step.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "vulkan/matmul.h"

namespace mlc::vulkan {
namespace {

// A head, then these words of each row: token, position, first of its sequence's pages, nothing.
constexpr std::size_t kRowWords = 4;
constexpr std::uint32_t kLeastRoom = 2;
constexpr std::size_t kQueryWords = 8;
constexpr std::size_t kAdjustmentWords = 4;

void Append(std::vector<RowRange>& ranges, const RowRange& range, bool merge) {
  if (merge && !ranges.empty() && ranges.back().prompt == range.prompt) {
    ranges.back().count += range.count;
  } else {
    ranges.push_back(range);
  }
}

}  // namespace

Step::Step(Device& device)
    : device_(device), few_rows_(static_cast<std::int32_t>(FewRows(device))) {}

std::uint32_t Step::first_page(std::uint32_t sequence) const {
  return static_cast<std::uint32_t>(kRowWords) * (1 + rows_) + sequence * room_;
}

bool Step::Write(const Batch& batch) {
  rows_ = static_cast<std::uint32_t>(batch.rows());
  const auto pages_of = [](const BatchSequence& sequence) {
    return CeilDivide(static_cast<std::uint32_t>(sequence.past + sequence.rows),
                      static_cast<std::uint32_t>(kPageTokens));
  };
  room_ = kLeastRoom;
  for (const BatchSequence& sequence : batch.sequences) {
    room_ = std::max(room_, std::bit_ceil(pages_of(sequence)));
  }
  const std::size_t after_pages = first_page(static_cast<std::uint32_t>(batch.sequences.size()));
  std::size_t words = after_pages + batch.logit_rows.size();
  for (const TokenQuery& query : batch.queries) {
    words += kQueryWords + kAdjustmentWords * query.adjustments.size();
  }
  const std::size_t bytes = std::bit_ceil(words) * sizeof(std::uint32_t);
  const bool moved = memory_.slice().size < bytes;
  if (moved) {
    memory_ = {};
    memory_ = device_.memory().Allocate(bytes, Place::kStep);
  }

  ranges_.clear();
  sequences_.clear();
  const std::span<std::uint32_t> out = memory_.Mapped<std::uint32_t>();
  const auto put = [&](std::span<const std::int32_t> numbers, std::size_t first) {
    std::ranges::copy(numbers, reinterpret_cast<std::int32_t*>(out.data()) + first);
  };
  put(batch.logit_rows, after_pages);
  std::size_t end = after_pages + batch.logit_rows.size();
  out[0] = static_cast<std::uint32_t>(after_pages);
  out[1] = static_cast<std::uint32_t>(end);
  end += kQueryWords * batch.queries.size();
  adjusts_ = false;
  std::uint32_t* query_words = out.data() + out[1];
  for (const TokenQuery& query : batch.queries) {
    query_words[0] = std::bit_cast<std::uint32_t>(
        std::min(1 / query.temperature, std::numeric_limits<float>::max()));
    query_words[1] = static_cast<std::uint32_t>(query.best);
    query_words[2] = std::bit_cast<std::uint32_t>(query.share);
    query_words[3] = static_cast<std::uint32_t>(end);
    query_words[4] = static_cast<std::uint32_t>(query.adjustments.size());
    query_words += kQueryWords;
    for (const Adjustment& one : query.adjustments) {
      adjusts_ = true;
      for (const std::uint32_t word :
           {static_cast<std::uint32_t>(one.token), std::bit_cast<std::uint32_t>(one.bias),
            std::bit_cast<std::uint32_t>(one.repetition),
            std::bit_cast<std::uint32_t>(one.penalty)}) {
        out[end++] = word;
      }
    }
  }
  for (const BatchSequence& sequence : batch.sequences) {
    const auto index = static_cast<std::uint32_t>(&sequence - batch.sequences.data());
    put(sequence.pages.first(pages_of(sequence)), first_page(index));
    for (std::int32_t i = 0; i < sequence.rows; ++i) {
      const auto row = static_cast<std::size_t>(sequence.first_row + i);
      std::uint32_t* const words_of_row = out.data() + kRowWords * (1 + row);
      words_of_row[0] = static_cast<std::uint32_t>(batch.tokens[row]);
      words_of_row[1] = static_cast<std::uint32_t>(sequence.past + i);
      words_of_row[2] = first_page(index);
    }
    RowRange range{.first = static_cast<std::uint32_t>(sequence.first_row),
                   .count = static_cast<std::uint32_t>(sequence.rows),
                   .prompt = sequence.rows > few_rows_,
                   .sequence = index};
    Append(ranges_, range, true);
    range.prompt = sequence.rows > 1;
    Append(sequences_, range, !range.prompt);
  }
  return moved;
}

}  // namespace mlc::vulkan
