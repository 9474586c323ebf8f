#pragma once

#include <array>
#include <cstdint>

namespace mlc {

/// Philox4x32-10: random bits as a function of a key and a counter, so that the n-th number of a
/// seed needs no state. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
/// (2011).
constexpr std::array<std::uint32_t, 4> Philox(std::array<std::uint32_t, 4> counter,
                                              std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xd251'1f53} * counter[0];
    const std::uint64_t b = std::uint64_t{0xcd9e'8d57} * counter[2];
    counter = {
        static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
        static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9e37'79b9;
    key[1] += 0xbb67'ae85;
  }
  return counter;
}

/// The `index`-th number of `seed`, uniform in [0, 1): a multiple of 2^-53.
constexpr double Uniform(std::uint64_t seed, std::uint64_t index) {
  const std::array<std::uint32_t, 4> bits =
      Philox({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), 0, 0},
             {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  const std::uint64_t word = std::uint64_t{bits[1]} << 32 | bits[0];
  return static_cast<double>(word >> 11) * 0x1p-53;
}

}  // namespace mlc
