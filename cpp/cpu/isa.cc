#include "cpu/isa.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <stdexcept>

#if defined(_MSC_VER)
#include <intrin.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace mlc::cpu {
namespace {

#if defined(__x86_64__) || defined(_M_X64)

struct Registers {
  std::uint32_t eax, ebx, ecx, edx;
};

/// All zero for a leaf that the processor does not have.
Registers Cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0) {
#if defined(_MSC_VER)
  std::array<int, 4> r;
  __cpuid(r.data(), static_cast<int>(leaf & 0x8000'0000));
  if (static_cast<std::uint32_t>(r[0]) < leaf) return {};
  __cpuidex(r.data(), static_cast<int>(leaf), static_cast<int>(subleaf));
  return {static_cast<std::uint32_t>(r[0]), static_cast<std::uint32_t>(r[1]),
          static_cast<std::uint32_t>(r[2]), static_cast<std::uint32_t>(r[3])};
#else
  Registers r{};
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
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
                        kAvx512Vl = 1u << 31, kAvx512Vnni = 1u << 11, kAvxVnni = 1u << 4;
constexpr std::uint64_t kYmmStates = 0x06, kZmmStates = 0xe6;

constexpr std::array kIsas = {Isa::kPortable, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512};

bool Offers(Isa isa) {
  if (isa == Isa::kPortable) return true;
  if (!HasBits(Cpuid(1).ecx, kFma | kOsxsave | kAvx | kF16c)) return false;
  const std::uint64_t saved = SavedStates();
  const Registers extended = Cpuid(7);
  if (!HasBits(saved, kYmmStates) || !HasBits(extended.ebx, kAvx2)) return false;
  if (isa == Isa::kAvxVnni) return HasBits(Cpuid(7, 1).eax, kAvxVnni);
  return isa == Isa::kAvx2 ||
         (HasBits(saved, kZmmStates) && HasBits(extended.ebx, kAvx512F | kAvx512Bw | kAvx512Vl) &&
          HasBits(extended.ecx, kAvx512Vnni));
}

#elif defined(__aarch64__)

bool HasDotProduct() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__)
  int value = 0;
  std::size_t size = sizeof(value);
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, nullptr, 0) == 0 && value == 1;
#else
  return false;
#endif
}

constexpr std::array kIsas = {Isa::kPortable, Isa::kNeon, Isa::kNeonDotprod};

bool Offers(Isa isa) { return isa != Isa::kNeonDotprod || HasDotProduct(); }

#else

constexpr std::array kIsas = {Isa::kPortable};

bool Offers(Isa) { return true; }

#endif

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
    case Isa::kAvxVnni:
      return "avx_vnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kNeon:
      return "neon";
    case Isa::kNeonDotprod:
      return "neon_dotprod";
  }
  return "";
}

std::vector<Isa> AvailableIsas() {
  std::vector<Isa> available;
  std::copy_if(kIsas.begin(), kIsas.end(), std::back_inserter(available), Offers);
  return available;
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
