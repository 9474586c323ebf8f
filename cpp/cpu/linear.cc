#include <algorithm>
#include <vector>

#include "cpu/backend.h"
#include "cpu/matmul.h"
#include "cpu/widen.h"
#include "runtime/float16.h"

namespace mlc::cpu {
namespace {

class CpuLinear final : public Linear {
 public:
  explicit CpuLinear(const Q4F16Weight& weight)
      : weight_{Encoding::kQ4Float16, weight.rows, weight.cols, weight.words.data(),
                weight.scales.data()} {}

  void Apply(std::span<const std::uint16_t> x, std::span<std::uint16_t> out) override {
    std::vector<float> input(x.size()), result(out.size());
    std::transform(x.begin(), x.end(), input.begin(), Widen);
    MatMul multiply = multiply_;  // a call each: calls share memory
    multiply(weight_, nullptr, input.data(), 1, result.data());
    std::transform(result.begin(), result.end(), out.begin(), FloatToFloat16);
  }

 private:
  const MatrixView weight_;
  const MatMul multiply_;
};

}  // namespace

std::unique_ptr<Linear> MakeLinear(const Q4F16Weight& weight) {
  return std::make_unique<CpuLinear>(weight);
}

}  // namespace mlc::cpu
