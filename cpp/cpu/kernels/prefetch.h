#pragma once

#if !defined(__GNUC__)
#include <immintrin.h>
#endif

// Only for the files that are compiled for one instruction set: see matmul_kernels.h.

namespace mlc::cpu {
namespace {

/// Asks for a cache line; any address will do.
inline void Prefetch(const void* p) {
#if defined(__GNUC__)
  __builtin_prefetch(p);
#else
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
#endif
}

/// The same for a line that is used once, and so should not push others out of the caches.
inline void PrefetchOnce(const void* p) {
#if defined(__GNUC__)
  __builtin_prefetch(p, 0, 0);
#else
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_NTA);
#endif
}

}  // namespace
}  // namespace mlc::cpu
