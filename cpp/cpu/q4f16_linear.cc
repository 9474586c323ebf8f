#include <algorithm>
#include <vector>

#include "cpu/backend.h"
#include "cpu/isa.h"
#include "cpu/q4f16_kernel.h"
#include "cpu/widen.h"
#include "runtime/float16.h"
#include "runtime/thread_pool.h"

namespace mlc::cpu {
namespace {

const Q4F16Kernel& ChooseKernel() {
#if defined(__x86_64__) || defined(_M_X64)
  switch (ChooseIsa()) {
    case Isa::kAvx512:
      return kAvx512Kernel;
    case Isa::kAvx2:
      return kAvx2Kernel;
    case Isa::kPortable:
      break;
  }
#else
  ChooseIsa();  // for its errors
#endif
  return kPortableKernel;
}

/// Converts and reorders the input as Q4F16Kernel wants it.
std::vector<float> Prepare(std::span<const std::uint16_t> input, std::size_t lanes) {
  constexpr float kInverse[] = {1.0f, 0x1p-4f, 0x1p-8f, 0x1p-12f};
  const std::size_t blocks = (input.size() + 8 * lanes - 1) / (8 * lanes);
  std::vector<float> values(blocks * 8 * lanes);
  std::transform(input.begin(), input.end(), values.begin(), Widen);

  std::vector<float> x(blocks * 8 * lanes);
  const float* word = values.data();
  for (std::size_t block = 0; block < blocks; ++block) {
    for (std::size_t lane = 0; lane < lanes; ++lane, word += 8) {
      float* first = x.data() + block * 8 * lanes + lane;
      for (std::size_t i = 0; i < 8; ++i) first[i * lanes] = word[i] * kInverse[i % 4];
    }
  }
  return x;
}

// Below this, waking a worker costs more than it brings: some microseconds of one thread's work.
constexpr std::int64_t kMinBytesPerChunk = 32 * 1024;

class CpuLinear final : public Linear {
 public:
  explicit CpuLinear(const Q4F16Weight& weight) : weight_(weight), kernel_(ChooseKernel()) {}

  void Apply(std::span<const std::uint16_t> input, std::span<std::uint16_t> out) override {
    const std::vector<float> x = Prepare(input, static_cast<std::size_t>(kernel_.lanes));
    const std::int64_t groups = weight_.groups();
    const std::int64_t grain = kMinBytesPerChunk / (groups * 18) + 1;  // 18 bytes hold a group
    ThreadPool::Global().ParallelFor(
        weight_.rows, grain, [&](std::int64_t begin, std::int64_t end) {
          constexpr std::int64_t kRows = 64;
          float sums[kRows];
          for (std::int64_t row = begin; row < end; row += kRows) {
            const std::int64_t rows = std::min(kRows, end - row);
            kernel_.multiply(weight_.words.data() + row * groups * 4,
                             weight_.scales.data() + row * groups, rows, groups, x.data(), sums);
            for (std::int64_t i = 0; i < rows; ++i) {
              out[static_cast<std::size_t>(row + i)] = FloatToFloat16(sums[i]);
            }
          }
        });
  }

 private:
  const Q4F16Weight weight_;
  const Q4F16Kernel& kernel_;
};

}  // namespace

std::unique_ptr<Linear> MakeLinear(const Q4F16Weight& weight) {
  return std::make_unique<CpuLinear>(weight);
}

}  // namespace mlc::cpu
