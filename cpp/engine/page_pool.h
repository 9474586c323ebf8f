#pragma once

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

namespace mlc {

/// Who uses which page of a KV cache: a count of references for each, and the order in which those
/// without any are given away again.
class PagePool {
 public:
  explicit PagePool(std::int32_t pages);

  std::int32_t size() const { return static_cast<std::int32_t>(pages_.size()); }
  std::int32_t available() const { return static_cast<std::int32_t>(free_.size()); }

  /// Gives away the page that has been free for longest, those of no further use first, with one
  /// reference. There must be one available.
  std::int32_t Take();

  /// One more reference to a page, which may be a free one.
  void Share(std::int32_t page);

  /// One reference less. A page that the last one leaves is free; `useful` says that its content
  /// may still be wanted.
  void Release(std::int32_t page, bool useful);

 private:
  struct Page {
    std::int32_t references = 0;
    std::uint64_t freed = 0;  ///< when, by `clock_`; 0 where the content is of no use
  };

  Page& at(std::int32_t page) { return pages_[static_cast<std::size_t>(page)]; }

  std::vector<Page> pages_;
  std::set<std::pair<std::uint64_t, std::int32_t>> free_;  ///< (freed, page)
  std::uint64_t clock_ = 0;
};

}  // namespace mlc
