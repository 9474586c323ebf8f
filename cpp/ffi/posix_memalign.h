#pragma once

#if defined(__MINGW32__)

#include <cerrno>
#include <cstddef>

// TVM FFI's headers take every compiler but Microsoft's for one with a POSIX C library, and ask
// this for memory of more than the usual alignment. No object of the core needs any: to refuse is
// all that is right, since they free what they get with std::free.
inline int posix_memalign(void**, std::size_t, std::size_t) { return ENOMEM; }

#endif
