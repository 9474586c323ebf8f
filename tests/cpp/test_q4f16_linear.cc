#include <bit>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "cpp/check.h"
#include "cpp/environment.h"
#include "cpu/backend.h"
#include "cpu/isa.h"
#include "cpu/widen.h"
#include "runtime/float16.h"

namespace {

struct Layer {
  mlc::Q4F16Weight weight;
  std::vector<std::uint32_t> words;
  std::vector<std::uint16_t> scales, x;
};

/// Random words, so that every nibble occurs, in the padding too. Vectors are exactly as long as
/// needed: a sanitizer sees a read past the end.
Layer MakeLayer(std::int64_t rows, std::int64_t cols) {
  std::mt19937 random(static_cast<unsigned>(rows * 7919 + cols));
  std::normal_distribution<float> normal;
  Layer layer;
  layer.weight.rows = rows;
  layer.weight.cols = cols;
  const auto groups = static_cast<std::size_t>(rows * layer.weight.groups());
  for (std::size_t i = 0; i < groups * 4; ++i) {
    layer.words.push_back(static_cast<std::uint32_t>(random()));
  }
  for (std::size_t i = 0; i < groups; ++i) {
    layer.scales.push_back(mlc::FloatToFloat16(normal(random) / 64));
  }
  for (std::int64_t k = 0; k < cols; ++k) layer.x.push_back(mlc::FloatToFloat16(normal(random)));
  layer.weight.words = layer.words;
  layer.weight.scales = layer.scales;
  return layer;
}

/// True where `out` is the product, but for rounding to float16 and sums in float32.
bool IsProduct(const Layer& layer, const std::vector<std::uint16_t>& out) {
  const std::int64_t groups = layer.weight.groups();
  for (std::int64_t n = 0; n < layer.weight.rows; ++n) {
    double sum = 0, magnitude = 0;
    for (std::int64_t k = 0; k < layer.weight.cols; ++k) {
      const auto word = layer.words[static_cast<std::size_t>(n * groups * 4 + k / 8)];
      const auto scale = layer.scales[static_cast<std::size_t>(n * groups + k / 32)];
      const int nibble = static_cast<int>(word >> 4 * (k % 8) & 0xf);
      const double product = static_cast<double>(nibble - 7) * mlc::Float16ToFloat(scale) *
                             mlc::Float16ToFloat(layer.x[static_cast<std::size_t>(k)]);
      sum += product;
      magnitude += std::abs(product);
    }
    const double allowed = std::abs(sum) * 0x1p-11 + magnitude * 0x1p-20 + 0x1p-25;
    if (!(std::abs(mlc::Float16ToFloat(out[static_cast<std::size_t>(n)]) - sum) <= allowed)) {
      std::fprintf(stderr, "%d x %d, row %d\n", static_cast<int>(layer.weight.rows),
                   static_cast<int>(layer.weight.cols), static_cast<int>(n));
      return false;
    }
  }
  return true;
}

void TestShapesAgainstTheDefinition() {
  for (const std::int64_t cols :
       {1, 7, 8, 31, 32, 33, 64, 65, 96, 127, 128, 129, 224, 255, 2080, 4096}) {
    for (const std::int64_t rows : {1, 3, 4, 5, 17, 130}) {
      const Layer layer = MakeLayer(rows, cols);
      std::vector<std::uint16_t> out(static_cast<std::size_t>(rows));
      mlc::cpu::MakeLinear(layer.weight)->Apply(layer.x, out);
      CHECK(IsProduct(layer, out));
    }
  }
}

void TestAnOutlierWithoutWeightDrownsNothing() {
  Layer layer = MakeLayer(100, 32);
  layer.x[0] = mlc::FloatToFloat16(20000);
  for (std::size_t i = 0; i < layer.words.size(); i += 4) {
    layer.words[i] = (layer.words[i] & ~0xfu) | 7;
  }
  std::vector<std::uint16_t> out(100);
  mlc::cpu::MakeLinear(layer.weight)->Apply(layer.x, out);
  CHECK(IsProduct(layer, out));
}

void TestWideningIsThatOfTheRuntime() {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    CHECK(std::bit_cast<std::uint32_t>(mlc::cpu::Widen(half)) ==
          std::bit_cast<std::uint32_t>(mlc::Float16ToFloat(half)));
  }
}

}  // namespace

int main() {
  TestWideningIsThatOfTheRuntime();
  SetVariable("MLC_LLM_NUM_THREADS", "3");
  for (const mlc::cpu::Isa isa : mlc::cpu::AvailableIsas()) {
    SetVariable("MLC_LLM_CPU_ISA", std::string(Name(isa)).c_str());
    std::printf("%s\n", std::string(Name(isa)).c_str());
    TestShapesAgainstTheDefinition();
    TestAnOutlierWithoutWeightDrownsNothing();
  }
}
