#include <numeric>
#include <vector>

#include "cpp/check.h"
#include "engine/page_pool.h"
#include "engine/prefix_cache.h"

namespace {

using mlc::kPageTokens;
using mlc::PagePool;
using mlc::PrefixCache;

std::vector<std::int32_t> PageOf(std::int32_t first_token) {
  std::vector<std::int32_t> tokens(kPageTokens);
  std::iota(tokens.begin(), tokens.end(), first_token);
  return tokens;
}

void TestUselessPagesGoFirstThenTheLongestFree() {
  PagePool pool(4);
  for (const std::int32_t page : {0, 1, 2, 3}) CHECK(pool.Take() == page);
  CHECK(pool.available() == 0);
  pool.Release(3, true);
  pool.Release(1, true);
  pool.Release(0, false);
  for (const std::int32_t page : {0, 3, 1}) CHECK(pool.Take() == page);
}

void TestAPageIsFreeWhenTheLastUserLeaves() {
  PagePool pool(2);
  const std::int32_t page = pool.Take();
  pool.Share(page);
  pool.Release(page, true);
  CHECK(pool.available() == 1);
  pool.Release(page, true);
  CHECK(pool.available() == 2);
  pool.Share(page);  // a free page can be taken back
  CHECK(pool.available() == 1 && pool.Take() != page);
}

void TestAPageIsFoundByItsTokensAndAllBefore() {
  PrefixCache cache(8);
  const auto first = cache.Publish(PrefixCache::kRoot, PageOf(0), cache.Take());
  const auto second = cache.Publish(first.node, PageOf(100), cache.Take());
  CHECK(cache.Find(PrefixCache::kRoot, PageOf(0))->page == first.page);
  CHECK(cache.Find(first.node, PageOf(100))->node == second.node);
  CHECK(!cache.Find(PrefixCache::kRoot, PageOf(100)));
  CHECK(!cache.Find(second.node, PageOf(100)));
  for (std::size_t i = 0; i < kPageTokens; ++i) {
    std::vector<std::int32_t> other = PageOf(0);
    other[i] ^= 1;
    CHECK(!cache.Find(PrefixCache::kRoot, other));
  }
}

void TestTheSecondPageOfTheSameTokensIsGivenBack() {
  PrefixCache cache(4);
  const std::int32_t page = cache.Take();
  const std::int32_t twin = cache.Take();
  const auto first = cache.Publish(PrefixCache::kRoot, PageOf(0), page);
  const auto again = cache.Publish(PrefixCache::kRoot, PageOf(0), twin);
  CHECK(again.node == first.node && again.page == page);
  CHECK(cache.in_use() == 1);
  cache.Release(std::vector{page});
  CHECK(cache.in_use() == 1);
  cache.Release(std::vector{page});
  CHECK(cache.in_use() == 0);
  CHECK(cache.Find(PrefixCache::kRoot, PageOf(0))->page == page);
}

void TestAPageGivenAwayIsForgottenWithAllBelow() {
  PrefixCache cache(2);
  const auto first = cache.Publish(PrefixCache::kRoot, PageOf(0), cache.Take());
  const auto second = cache.Publish(first.node, PageOf(100), cache.Take());
  cache.Release(std::vector{first.page, second.page});
  CHECK(cache.Take() == second.page);  // the end of a prefix goes before its beginning
  CHECK(!cache.Find(first.node, PageOf(100)));
  CHECK(cache.Find(PrefixCache::kRoot, PageOf(0))->page == first.page);
  CHECK(cache.Take() == first.page);
  const auto anew = cache.Publish(PrefixCache::kRoot, PageOf(0), first.page);
  CHECK(anew.node != first.node && !cache.Find(anew.node, PageOf(100)));
}

}  // namespace

int main() {
  TestUselessPagesGoFirstThenTheLongestFree();
  TestAPageIsFreeWhenTheLastUserLeaves();
  TestAPageIsFoundByItsTokensAndAllBefore();
  TestTheSecondPageOfTheSameTokensIsGivenBack();
  TestAPageGivenAwayIsForgottenWithAllBelow();
}
