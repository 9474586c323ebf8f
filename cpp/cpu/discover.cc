#include "cpu/backend.h"
#include "cpu/isa.h"
#include "runtime/system.h"

namespace mlc::cpu {

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
