#include "cpu/isa.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#if defined(_MSC_VER)
#include <intrin.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#endif

namespace mlc::cpu {
namespace {

#if defined(__x86_64__) || defined(_M_X64)

struct Registers {
  std::uint32_t eax, ebx, ecx, edx;
};

/// All zero for a leaf that the processor does not have.
Registers Cpuid(std::uint32_t leaf) {
#if defined(_MSC_VER)
  std::array<int, 4> r;
  __cpuid(r.data(), static_cast<int>(leaf & 0x8000'0000));
  if (static_cast<std::uint32_t>(r[0]) < leaf) return {};
  __cpuidex(r.data(), static_cast<int>(leaf), 0);
  return {static_cast<std::uint32_t>(r[0]), static_cast<std::uint32_t>(r[1]),
          static_cast<std::uint32_t>(r[2]), static_cast<std::uint32_t>(r[3])};
#else
  Registers r{};
  __get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
#endif
}

/// The register states that the operating system saves (XCR0).
std::uint64_t SavedStates() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  std::uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32 | low;
#endif
}

constexpr bool HasBits(std::uint64_t value, std::uint64_t bits) { return (value & bits) == bits; }

// Bits of Intel's and AMD's manuals.
constexpr std::uint32_t kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;
constexpr std::uint32_t kAvx2 = 1u << 5, kAvx512F = 1u << 16, kAvx512Bw = 1u << 30,
                        kAvx512Vl = 1u << 31;
constexpr std::uint64_t kYmmStates = 0x06, kZmmStates = 0xe6;

Isa BestIsa() {
  const Registers basic = Cpuid(1);
  if (!HasBits(basic.ecx, kFma | kOsxsave | kAvx | kF16c)) return Isa::kPortable;
  const std::uint64_t saved = SavedStates();
  const Registers extended = Cpuid(7);
  if (!HasBits(saved, kYmmStates) || !HasBits(extended.ebx, kAvx2)) return Isa::kPortable;
  const bool avx512 =
      HasBits(saved, kZmmStates) && HasBits(extended.ebx, kAvx512F | kAvx512Bw | kAvx512Vl);
  return avx512 ? Isa::kAvx512 : Isa::kAvx2;
}

#else

Isa BestIsa() { return Isa::kPortable; }

#endif

constexpr std::array kIsas = {Isa::kPortable, Isa::kAvx2, Isa::kAvx512};

std::string Names(const std::vector<Isa>& isas) {
  std::string names;
  for (const Isa isa : isas) {
    if (!names.empty()) names += ", ";
    names += Name(isa);
  }
  return names;
}

}  // namespace

std::string_view Name(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return "portable";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
  }
  return "";
}

std::vector<Isa> AvailableIsas() {
  static const Isa best = BestIsa();
  return {kIsas.begin(), std::find(kIsas.begin(), kIsas.end(), best) + 1};
}

Isa ChooseIsa() {
  const std::vector<Isa> available = AvailableIsas();
  const char* wanted = std::getenv("MLC_LLM_CPU_ISA");
  if (wanted == nullptr || *wanted == '\0') return available.back();
  for (const Isa isa : available) {
    if (Name(isa) == wanted) return isa;
  }
  throw std::invalid_argument("MLC_LLM_CPU_ISA is \"" + std::string(wanted) +
                              "\", which this processor does not offer; it offers " +
                              Names(available) + ". Unset the variable to use the best.");
}

std::string ProcessorName() {
#if defined(__x86_64__) || defined(_M_X64)
  std::array<char, 49> brand{};
  for (std::uint32_t i = 0; i < 3; ++i) {
    const Registers part = Cpuid(0x8000'0002 + i);
    std::memcpy(brand.data() + 16 * i, &part, sizeof(part));
  }
  const std::string name = brand.data();
  const std::size_t begin = name.find_first_not_of(' ');
  if (begin != std::string::npos) return name.substr(begin, name.find_last_not_of(' ') + 1 - begin);
#endif
  return "CPU";
}

}  // namespace mlc::cpu
