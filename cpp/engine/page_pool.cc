#include "engine/page_pool.h"

namespace mlc {

PagePool::PagePool(std::int32_t pages) : pages_(static_cast<std::size_t>(pages)) {
  for (std::int32_t page = 0; page < pages; ++page) free_.emplace_hint(free_.end(), 0, page);
}

std::int32_t PagePool::Take() {
  const std::int32_t page = free_.begin()->second;
  Share(page);
  return page;
}

void PagePool::Share(std::int32_t page) {
  if (at(page).references++ == 0) free_.erase({at(page).freed, page});
}

void PagePool::Release(std::int32_t page, bool useful) {
  if (--at(page).references > 0) return;
  at(page).freed = useful ? ++clock_ : 0;
  free_.emplace(at(page).freed, page);
}

}  // namespace mlc
