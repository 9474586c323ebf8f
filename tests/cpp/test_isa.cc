#include "cpu/isa.h"

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>

#include "cpp/check.h"
#include "cpp/environment.h"
#include "cpu/backend.h"

namespace {

using namespace mlc::cpu;

void TestPortableIsAlwaysThere() { CHECK(AvailableIsas().front() == Isa::kPortable); }

void TestTheBestIsTheDefault() {
  SetVariable("MLC_LLM_CPU_ISA", nullptr);
  CHECK(ChooseIsa() == AvailableIsas().back());
}

void TestEachCanBeForced() {
  for (const Isa isa : AvailableIsas()) {
    SetVariable("MLC_LLM_CPU_ISA", std::string(Name(isa)).c_str());
    CHECK(ChooseIsa() == isa);
  }
}

void TestAnUnknownOneIsRefused() {
  SetVariable("MLC_LLM_CPU_ISA", "mmx");
  CHECK_THROWS(ChooseIsa(), std::invalid_argument, "it offers portable");
  SetVariable("MLC_LLM_CPU_ISA", nullptr);
}

#if defined(__linux__) && defined(__x86_64__)
void TestTheKernelAgrees() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (line.rfind("flags", 0) != 0) CHECK(std::getline(file, line));
  line += ' ';
  const auto has = [&](const char* flag) {
    return line.find(" " + std::string(flag) + " ") != std::string::npos;
  };
  const bool avx2 = has("avx2") && has("fma") && has("f16c");
  std::vector<Isa> expected = {Isa::kPortable};
  if (avx2) expected.push_back(Isa::kAvx2);
  if (avx2 && has("avx_vnni")) expected.push_back(Isa::kAvxVnni);
  if (avx2 && has("avx512f") && has("avx512bw") && has("avx512vl") && has("avx512_vnni")) {
    expected.push_back(Isa::kAvx512);
  }
  CHECK(AvailableIsas() == expected);
}
#elif defined(__linux__) && defined(__aarch64__)
/// The processor's own register of features, which the kernel shows to programs.
void TestTheKernelAgrees() {
  std::uint64_t features;
  __asm__("mrs %0, ID_AA64ISAR0_EL1" : "=r"(features));
  std::vector<Isa> expected = {Isa::kPortable, Isa::kNeon};
  if ((features >> 44 & 0xf) != 0) expected.push_back(Isa::kNeonDotprod);
  CHECK(AvailableIsas() == expected);
}
#else
void TestTheKernelAgrees() {}
#endif

void TestDiscoveryDescribesTheCpu() {
  const mlc::Discovery found = Discover();
  CHECK(found.devices.size() == 1 && found.reason.empty());
  const mlc::DeviceInfo& cpu = found.devices[0];
  CHECK(cpu.id == "cpu" && cpu.type == "cpu" && !cpu.name.empty());
  CHECK(cpu.memory_bytes > 0 && cpu.features.size() == AvailableIsas().size());
}

}  // namespace

int main() {
  TestPortableIsAlwaysThere();
  TestTheBestIsTheDefault();
  TestEachCanBeForced();
  TestAnUnknownOneIsRefused();
  TestTheKernelAgrees();
  TestDiscoveryDescribesTheCpu();
}
