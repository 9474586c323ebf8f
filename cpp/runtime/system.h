#pragma once

// What the core asks of the operating system; one source file for each.

#include <cstdint>

namespace mlc {

/// The bytes of main memory that the machine has; 0 if it does not say.
std::uint64_t MemoryBytes();

/// The processors that this process may run on, at least 1.
int UsableProcessors();

/// Opens a shared library by its file name; null if it cannot be opened. It is never closed.
void* OpenLibrary(const char* name);

/// The address of a library's symbol; null if it has no such symbol.
void* FindSymbol(void* library, const char* name);

}  // namespace mlc
