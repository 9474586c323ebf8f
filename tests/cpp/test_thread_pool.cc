#include "runtime/thread_pool.h"

#include <atomic>
#include <set>
#include <stdexcept>

#include "cpp/check.h"
#include "cpp/environment.h"

#if defined(__linux__)
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace {

using mlc::ThreadPool;

bool CoversOnce(ThreadPool& pool, std::int64_t count, std::int64_t grain) {
  std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
  pool.ParallelFor(count, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
  });
  for (const std::atomic<int>& visit : visits) {
    if (visit != 1) return false;
  }
  return true;
}

void TestEveryItemIsVisitedOnce() {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    CHECK(pool.threads() == threads);
    for (const std::int64_t count : {0, 1, 2, 7, 8, 9, 1000}) {
      for (const std::int64_t grain : {1, 3, 5000}) CHECK(CoversOnce(pool, count, grain));
    }
  }
}

void TestGrainIsRespected() {
  ThreadPool pool(4);
  std::atomic<int> small = 0;
  pool.ParallelFor(100, 9, [&](std::int64_t begin, std::int64_t end) {
    if (end - begin < 9 && end != 100) ++small;
  });
  CHECK(small == 0);
}

void TestManyShortJobsInARow() {
  ThreadPool pool(4);
  std::atomic<std::int64_t> sum = 0;
  for (int job = 0; job < 20'000; ++job) {
    pool.ParallelFor(16, 1, [&](std::int64_t begin, std::int64_t end) { sum += end - begin; });
  }
  CHECK(sum == 20'000 * 16);
}

void TestCallersTakeTurns() {
  ThreadPool pool(3);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int job = 0; job < 200; ++job) wrong += !CoversOnce(pool, 50, 1);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
}

void TestNestedCallsRunInPlace() {
  ThreadPool pool(3);
  std::atomic<std::int64_t> sum = 0;
  pool.ParallelFor(8, 1, [&](std::int64_t begin, std::int64_t end) {
    pool.ParallelFor(100, 1,
                     [&](std::int64_t b, std::int64_t e) { sum += (e - b) * (end - begin); });
  });
  CHECK(sum == 800);
}

void TestSleepingWorkersWake() {
  ThreadPool pool(2);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  // Each chunk waits for the other thread: this ends only if the worker wakes up.
  for (int job = 0; job < 3; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than workers spin
    std::atomic<int> arrived = 0;
    pool.ParallelFor(2, 1, [&](std::int64_t, std::int64_t) {
      ++arrived;
      while (arrived < 2) std::this_thread::yield();
      const std::lock_guard lock(mutex);
      seen.insert(std::this_thread::get_id());
    });
  }
  CHECK(seen.size() == 2);
}

void TestThreadsVariableIsChecked() {
  for (const char* wrong : {"0", "-1", "two", "4x", "99999"}) {
    SetVariable("MLC_LLM_NUM_THREADS", wrong);
    CHECK_THROWS(ThreadPool::Global(), std::invalid_argument, "MLC_LLM_NUM_THREADS");
  }
  SetVariable("MLC_LLM_NUM_THREADS", "3");
  CHECK(ThreadPool::Global().threads() == 3);
}

// Sanitizers need more addresses than these tests leave, and their own threads in a forked child.
#if defined(__linux__) && !defined(MLC_LLM_SANITIZE)
template <typename Condition>
bool HoldsInChild(Condition condition) {
  const pid_t child = fork();
  if (child == 0) _exit(condition() ? 0 : 1);
  int status = -1;
  return waitpid(child, &status, 0) == child && status == 0;
}

/// Whether a pool has from `least` to `most` threads, and works, where 1 GiB of addresses must hold
/// every thread's stack. (A limit on processes would be the usual cause; root has none.)
bool StartsThreads(int least, int most, std::size_t stack_size) {
  const rlimit limit{1U << 30, 1U << 30};
  pthread_attr_t attributes;
  if (setrlimit(RLIMIT_AS, &limit) != 0 || pthread_attr_init(&attributes) != 0 ||
      pthread_attr_setstacksize(&attributes, stack_size) != 0 ||
      pthread_setattr_default_np(&attributes) != 0) {
    return false;
  }
  ThreadPool pool(8);
  return least <= pool.threads() && pool.threads() <= most && CoversOnce(pool, 100, 1);
}

void TestThreadsThatCannotStartAreDoneWithout() {
  CHECK(HoldsInChild([] { return StartsThreads(2, 4, std::size_t{1} << 28); }));
  CHECK(HoldsInChild([] { return StartsThreads(1, 1, std::size_t{1} << 31); }));
}

void TestAForkedChildWorksAlone() {
  CHECK(CoversOnce(ThreadPool::Global(), 100, 1));
  CHECK(HoldsInChild([] { return CoversOnce(ThreadPool::Global(), 100, 1); }));
}
#else
void TestThreadsThatCannotStartAreDoneWithout() {}
void TestAForkedChildWorksAlone() {}
#endif

}  // namespace

int main() {
  TestEveryItemIsVisitedOnce();
  TestGrainIsRespected();
  TestManyShortJobsInARow();
  TestCallersTakeTurns();
  TestNestedCallsRunInPlace();
  TestSleepingWorkersWake();
  TestThreadsThatCannotStartAreDoneWithout();
  TestThreadsVariableIsChecked();
  TestAForkedChildWorksAlone();
}
