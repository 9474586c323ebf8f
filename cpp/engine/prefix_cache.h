#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/page_pool.h"
#include "runtime/backend.h"

namespace mlc {

/// The pages of a KV cache, found again by the tokens that they hold.
///
/// A full page is published as a node of a tree: its own tokens below the node of the page before.
/// Nodes are compared token by token, never by hash alone, and a node's number is never used twice.
/// So a match is exact, and what hangs below a page that was given away can never be found again.
class PrefixCache {
 public:
  using Node = std::uint64_t;
  static constexpr Node kRoot = 0;  ///< before the first page

  struct Entry {
    Node node = kRoot;
    std::int32_t page = -1;
  };

  explicit PrefixCache(std::int32_t pages);

  std::int32_t available() const { return pool_.available(); }
  std::int32_t in_use() const { return pool_.size() - pool_.available(); }

  /// A page for new content, with one reference. There must be one available.
  std::int32_t Take();

  /// The page that holds `tokens` (kPageTokens of them) after `parent`. Takes no reference.
  std::optional<Entry> Find(Node parent, std::span<const std::int32_t> tokens) const;

  void Share(std::int32_t page) { pool_.Share(page); }

  /// Drops one reference to each page of a sequence: the last pages are given away first.
  void Release(std::span<const std::int32_t> pages);

  /// Makes a full page findable. Where another page holds the same already, the caller's reference
  /// moves to that one: equal tokens have equal keys and values, bit by bit (runtime/backend.h).
  Entry Publish(Node parent, std::span<const std::int32_t> tokens, std::int32_t page);

 private:
  struct Key {
    Node parent;
    std::array<std::int32_t, kPageTokens> tokens;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    std::size_t operator()(const Key& key) const;
  };

  static Key MakeKey(Node parent, std::span<const std::int32_t> tokens);

  PagePool pool_;
  std::unordered_map<Key, Entry, Hash> entries_;
  std::vector<const Key*> published_;  ///< [pages], null where the page is not in `entries_`
  Node last_node_ = kRoot;
};

}  // namespace mlc
