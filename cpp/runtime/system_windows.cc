#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <bit>

#include "runtime/system.h"

namespace mlc {

std::uint64_t MemoryBytes() {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof(status);
  return GlobalMemoryStatusEx(&status) ? status.ullTotalPhys : 0;
}

int UsableProcessors() {
  DWORD_PTR process = 0;
  DWORD_PTR machine = 0;
  // No mask is given for a process on more than one group of 64 processors.
  if (GetProcessAffinityMask(GetCurrentProcess(), &process, &machine) && process != 0) {
    return std::popcount(std::uint64_t{process});
  }
  const DWORD all = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
  return all == 0 ? 1 : static_cast<int>(all);
}

void* OpenLibrary(const char* name) { return LoadLibraryA(name); }

void* FindSymbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

}  // namespace mlc
