#pragma once

#include <cstdint>
#include <span>

#include "runtime/shortlist.h"
#include "vulkan/recorder.h"
#include "vulkan/step.h"

namespace mlc::vulkan {

/// Answers the queries of a step about its logits, so that these need not come to the host.
class Ranking {
 public:
  explicit Ranking(Device& device) : device_(device) {}

  /// Makes room for `rows` answers. Returns true when their memory is another than before.
  bool Reserve(std::size_t rows);

  /// Records Backend::RankTokens for `rows` rows of logits.
  void Record(Recorder& recorder, const Step& step, const Slice& logits, std::uint32_t rows,
              std::uint32_t vocab) const;

  /// Takes in the answers, once the device has them. Returns how many bytes were read.
  std::int64_t Take(std::span<Shortlist> out) const;

 private:
  Device& device_;
  Allocation answers_;
};

}  // namespace mlc::vulkan
