#include "engine/prefix_cache.h"

#include <algorithm>

namespace mlc {

std::size_t PrefixCache::Hash::operator()(const Key& key) const {
  std::uint64_t hash = key.parent;
  for (const std::int32_t token : key.tokens) {
    hash = (hash ^ static_cast<std::uint32_t>(token)) * 0x9e37'79b9'7f4a'7c15;
    hash ^= hash >> 32;
  }
  return static_cast<std::size_t>(hash);
}

PrefixCache::Key PrefixCache::MakeKey(Node parent, std::span<const std::int32_t> tokens) {
  Key key{parent, {}};
  std::ranges::copy(tokens.first(kPageTokens), key.tokens.begin());
  return key;
}

PrefixCache::PrefixCache(std::int32_t pages)
    : pool_(pages), published_(static_cast<std::size_t>(pages)) {}

std::int32_t PrefixCache::Take() {
  const std::int32_t page = pool_.Take();
  const Key*& key = published_[static_cast<std::size_t>(page)];
  if (key != nullptr) entries_.erase(entries_.find(*key));
  key = nullptr;
  return page;
}

std::optional<PrefixCache::Entry> PrefixCache::Find(Node parent,
                                                    std::span<const std::int32_t> tokens) const {
  const auto found = entries_.find(MakeKey(parent, tokens));
  if (found == entries_.end()) return std::nullopt;
  return found->second;
}

void PrefixCache::Release(std::span<const std::int32_t> pages) {
  for (auto page = pages.rbegin(); page != pages.rend(); ++page) {
    pool_.Release(*page, published_[static_cast<std::size_t>(*page)] != nullptr);
  }
}

PrefixCache::Entry PrefixCache::Publish(Node parent, std::span<const std::int32_t> tokens,
                                        std::int32_t page) {
  const auto [place, inserted] =
      entries_.try_emplace(MakeKey(parent, tokens), Entry{last_node_ + 1, page});
  const Entry entry = place->second;
  if (inserted) {
    ++last_node_;
    published_[static_cast<std::size_t>(page)] = &place->first;
  } else if (entry.page != page) {
    pool_.Share(entry.page);
    pool_.Release(page, false);
  }
  return entry;
}

}  // namespace mlc
