#include "runtime/thread_pool.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "runtime/system.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace mlc {
namespace {

constexpr std::uint64_t kEpoch = std::uint64_t{1} << 32;
constexpr std::uint64_t kChunks = kEpoch - 1;

// More chunks than threads, so that a thread that the system holds up delays little.
constexpr std::int64_t kChunksPerThread = 4;

// Some tens of microseconds: longer than the gap between two operators, far shorter than a token.
constexpr int kSpins = 2000;

constexpr int kMaxThreads = 1024;

thread_local bool inside_body = false;

void Pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
  __asm__ __volatile__("yield");
#endif
}

/// Returns true once `ready()` holds, false when it does not within the spin time.
template <typename Ready>
bool SpinUntil(Ready ready) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (ready()) return true;
    Pause();
  }
  return false;
}

int GlobalThreads() {
  const char* variable = std::getenv("MLC_LLM_NUM_THREADS");
  if (variable == nullptr || *variable == '\0') return std::min(UsableProcessors(), kMaxThreads);
  const std::string_view text(variable);
  int threads = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), threads);
  if (error != std::errc() || end != text.data() + text.size() || threads < 1 ||
      threads > kMaxThreads) {
    throw std::invalid_argument("MLC_LLM_NUM_THREADS is \"" + std::string(text) +
                                "\", which is not a number from 1 to " +
                                std::to_string(kMaxThreads) + ".");
  }
  return threads;
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  workers_.reserve(static_cast<std::size_t>(threads - 1));
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { Work(); });
  } catch (const std::system_error&) {
    // The system lets no more threads start (a container's limit, perhaps): those there are do it.
  }
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  ticket_ += kEpoch;
  ticket_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ParallelFor(std::int64_t count, std::int64_t grain, const Body& body) {
  if (count <= 0) return;
  grain = std::max(grain, (count - 1) / (threads() * kChunksPerThread) + 1);
  const std::int64_t chunks = (count - 1) / grain + 1;
  if (chunks == 1 || workers_.empty() || inside_body) {
    body(0, count);
    return;
  }

  const std::lock_guard lock(callers_);
  body_ = &body;
  count_ = count;
  chunk_size_ = grain;
  unfinished_.store(chunks, std::memory_order_relaxed);
  const std::uint64_t epoch = ticket_.load(std::memory_order_relaxed) & ~kChunks;
  ticket_.store((epoch + kEpoch) | static_cast<std::uint64_t>(chunks), std::memory_order_release);
  ticket_.notify_all();

  RunChunks();
  if (SpinUntil([this] { return unfinished_.load(std::memory_order_acquire) == 0; })) return;
  while (const std::int64_t left = unfinished_.load(std::memory_order_acquire)) {
    unfinished_.wait(left, std::memory_order_acquire);
  }
}

void ThreadPool::Work() {
  while (!stop_) {
    SpinUntil([this] { return (ticket_.load(std::memory_order_relaxed) & kChunks) != 0; });
    const std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    if ((ticket & kChunks) != 0) {
      RunChunks();
    } else if (!stop_) {
      ticket_.wait(ticket, std::memory_order_acquire);
    }
  }
}

void ThreadPool::RunChunks() {
  inside_body = true;
  std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while ((ticket & kChunks) != 0) {
    if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                       std::memory_order_acquire)) {
      continue;
    }
    const std::int64_t begin = static_cast<std::int64_t>((ticket & kChunks) - 1) * chunk_size_;
    (*body_)(begin, std::min(begin + chunk_size_, count_));
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
    ticket = ticket_.load(std::memory_order_acquire);
  }
  inside_body = false;
}

ThreadPool& ThreadPool::Global() {
  // Never destroyed: at exit its workers may be gone already (fork, Windows), and a join would
  // hang.
  static ThreadPool& pool = *new ThreadPool(GlobalThreads());
  return pool;
}

}  // namespace mlc
