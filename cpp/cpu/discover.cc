#include "cpu/backend.h"
#include "cpu/isa.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <unistd.h>
#endif

namespace mlc::cpu {
namespace {

std::uint64_t MemoryBytes() {
#if defined(_WIN32)
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof(status);
  return GlobalMemoryStatusEx(&status) ? status.ullTotalPhys : 0;
#else
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_size = sysconf(_SC_PAGE_SIZE);
  if (pages < 0 || page_size < 0) return 0;
  return static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_size);
#endif
}

}  // namespace

Discovery Discover() {
  DeviceInfo cpu;
  cpu.id = "cpu";
  cpu.name = ProcessorName();
  cpu.type = "cpu";
  cpu.memory_bytes = MemoryBytes();
  for (const Isa isa : AvailableIsas()) cpu.features.emplace_back(Name(isa));
  return {.devices = {cpu}, .reason = ""};
}

}  // namespace mlc::cpu
