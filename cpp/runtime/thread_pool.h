#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace mlc {

/// Persistent workers that share out ranges of independent work.
///
/// Chunks are claimed one by one, and the caller claims too. So a call ends even where the workers
/// are gone, as they are in a forked child.
class ThreadPool {
 public:
  /// Called with a half-open range [begin, end); must not throw.
  using Body = std::function<void(std::int64_t begin, std::int64_t end)>;

  /// `threads` counts the caller: a pool of one has no workers. There are fewer, or none, where the
  /// system does not let so many start.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Covers [0, count) with calls of `body`, each of at least `grain` items except the last.
  /// Calls from several threads take turns; a call from inside a body runs in place.
  void ParallelFor(std::int64_t count, std::int64_t grain, const Body& body);

  /// The pool of this process: as many threads as MLC_LLM_NUM_THREADS says, else one for each
  /// processor that the process may use. Throws std::invalid_argument when the variable is wrong.
  static ThreadPool& Global();

 private:
  void Work();
  void RunChunks();

  std::mutex callers_;
  std::vector<std::thread> workers_;
  std::atomic<bool> stop_ = false;

  // Epoch in the high half, chunks still to be claimed in the low half. One word for both, so that
  // a late worker cannot claim a chunk of a job that it has not seen start.
  std::atomic<std::uint64_t> ticket_ = 0;
  std::atomic<std::int64_t> unfinished_ = 0;

  // The job. Written before `ticket_` opens, read only after a successful claim.
  const Body* body_ = nullptr;
  std::int64_t count_ = 0;
  std::int64_t chunk_size_ = 0;
};

}  // namespace mlc
