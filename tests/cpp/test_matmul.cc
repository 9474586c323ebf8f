#include "cpu/matmul.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "cpp/check.h"
#include "cpp/environment.h"
#include "cpu/isa.h"
#include "cpu/widen.h"
#include "runtime/float16.h"
#include "runtime/thread_pool.h"

namespace {

using mlc::Encoding;
using mlc::MatrixView;

constexpr Encoding kEncodings[] = {Encoding::kFloat32, Encoding::kFloat16, Encoding::kQ4Float16,
                                   Encoding::kQ4Float32};

std::size_t Size(std::int64_t count) { return static_cast<std::size_t>(count); }

/// A matrix with random values and its bias. Vectors are exactly as long as needed: a sanitizer
/// sees a read past the end.
struct Matrix {
  MatrixView view;
  std::vector<std::uint32_t> words;
  std::vector<std::uint16_t> halves;
  std::vector<float> floats;
  std::vector<float> bias;

  Matrix(Encoding encoding, std::int64_t rows, std::int64_t cols)
      : view{encoding, rows, cols, nullptr, nullptr} {
    std::mt19937 random(static_cast<unsigned>(rows * 7919 + cols));
    std::normal_distribution<float> normal;
    const std::int64_t count = view.quantized() ? rows * view.groups() : rows * cols;
    if (view.quantized()) {
      // Every nibble, in the padding too.
      for (std::int64_t i = 0; i < count * 4; ++i) {
        words.push_back(static_cast<std::uint32_t>(random()));
      }
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = normal(random) / 64;
      if (encoding == Encoding::kFloat16 || encoding == Encoding::kQ4Float16) {
        halves.push_back(mlc::FloatToFloat16(value));
      } else {
        floats.push_back(value);
      }
    }
    for (std::int64_t i = 0; i < rows; ++i) bias.push_back(normal(random));
    const void* numbers = halves.empty() ? static_cast<const void*>(floats.data()) : halves.data();
    view.values = view.quantized() ? words.data() : numbers;
    view.scales = view.quantized() ? numbers : nullptr;
  }

  double At(std::int64_t n, std::int64_t k) const {
    const auto number = [&](std::int64_t i) {
      return halves.empty() ? floats[Size(i)] : mlc::Float16ToFloat(halves[Size(i)]);
    };
    if (!view.quantized()) return number(n * view.cols + k);
    const std::uint32_t word = words[Size(n * view.groups() * 4 + k / 8)];
    const auto nibble = static_cast<int>(word >> 4 * (k % 8) & 0xf);
    return (nibble - 7) * static_cast<double>(number(n * view.groups() + k / 32));
  }
};

std::vector<float> MakeInput(std::int64_t rows, std::int64_t cols) {
  std::mt19937 random(static_cast<unsigned>(rows * 31 + cols));
  std::normal_distribution<float> normal;
  std::vector<float> x(Size(rows * cols));
  std::generate(x.begin(), x.end(), [&] { return normal(random); });
  return x;
}

std::vector<float> Multiply(const Matrix& m, const std::vector<float>& x, bool bias = true) {
  const std::int64_t rows = static_cast<std::int64_t>(x.size()) / m.view.cols;
  std::vector<float> out(Size(rows * m.view.rows), std::numeric_limits<float>::quiet_NaN());
  mlc::cpu::MatMul()(m.view, bias ? m.bias.data() : nullptr, x.data(), rows, out.data());
  return out;
}

/// What quantizing x may change in one product: half a step, which is max|x| / 127 of its group.
double QuantizationError(const Matrix& m, std::int64_t n, const float* x) {
  if (!m.view.quantized()) return 0;
  double error = 0;
  for (std::int64_t first = 0; first < m.view.cols; first += 32) {
    double largest = 0, weights = 0;
    for (std::int64_t k = first; k < std::min(first + 32, m.view.cols); ++k) {
      largest = std::max(largest, std::abs(static_cast<double>(x[k])));
      weights += std::abs(m.At(n, k));
    }
    error += weights * largest / 254;
  }
  return error;
}

/// True where `out` is the product but for quantization of x and sums in float32.
bool IsProduct(const Matrix& m, const std::vector<float>& x, const std::vector<float>& out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t n = static_cast<std::int64_t>(i) % m.view.rows;
    const float* row = x.data() + static_cast<std::int64_t>(i) / m.view.rows * m.view.cols;
    double sum = m.bias[Size(n)], magnitude = std::abs(sum);
    for (std::int64_t k = 0; k < m.view.cols; ++k) {
      const double product = m.At(n, k) * row[k];
      sum += product;
      magnitude += std::abs(product);
    }
    const double allowed = QuantizationError(m, n, row) + magnitude * 0x1p-19;
    if (!(std::abs(out[i] - sum) <= allowed)) {
      std::fprintf(stderr, "encoding %d, %d x %d, element %d: %g instead of %g +- %g\n",
                   static_cast<int>(m.view.encoding), static_cast<int>(m.view.rows),
                   static_cast<int>(m.view.cols), static_cast<int>(i), static_cast<double>(out[i]),
                   sum, allowed);
      return false;
    }
  }
  return true;
}

void TestShapesAgainstTheDefinition(Encoding encoding) {
  for (const std::int64_t cols : {1, 7, 31, 32, 33, 64, 95, 96, 255, 1055, 4096}) {
    for (const std::int64_t rows : {1, 3, 4, 17, 35}) {
      const Matrix m(encoding, rows, cols);
      for (const std::int64_t x_rows : {1, 2, 5, 19}) {
        const std::vector<float> x = MakeInput(x_rows, cols);
        CHECK(IsProduct(m, x, Multiply(m, x)));
      }
    }
  }
}

/// The product on this thread alone: calls from inside the pool run in place.
std::vector<float> MultiplyInPlace(const Matrix& m, const std::vector<float>& x) {
  std::vector<float> out;
  mlc::ThreadPool::Global().ParallelFor(2, 1, [&](std::int64_t begin, std::int64_t) {
    if (begin == 0) out = Multiply(m, x);
  });
  return out;
}

/// Each row of a product must have the bits that it has alone and on one thread.
void TestRowsDependOnNothingElse(Encoding encoding) {
  for (const std::int64_t cols : {33, 96, 1055, 2048}) {
    const Matrix m(encoding, 150, cols);
    const std::vector<float> x = MakeInput(300, cols);
    std::vector<float> alone;
    for (auto row = x.begin(); row != x.end(); row += cols) {
      const std::vector<float> out = MultiplyInPlace(m, {row, row + cols});
      alone.insert(alone.end(), out.begin(), out.end());
    }
    for (const std::int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 33, 64, 300}) {
      const std::vector<float> out = Multiply(m, {x.begin(), x.begin() + rows * cols});
      CHECK(std::memcmp(out.data(), alone.data(), out.size() * sizeof(float)) == 0);
    }
  }
}

void TestEveryWeightCounts(Encoding encoding) {
  // Rows of x are the unit vectors: the product is the matrix.
  const std::int64_t cols = 100;
  const Matrix m(encoding, 21, cols);
  std::vector<float> x(Size(cols * cols));
  for (std::int64_t k = 0; k < cols; ++k) x[Size(k * cols + k)] = 127;
  const std::vector<float> out = Multiply(m, x, false);
  for (std::int64_t k = 0; k < cols; ++k) {
    for (std::int64_t n = 0; n < 21; ++n) {
      CHECK(out[Size(k * 21 + n)] == static_cast<float>(127 * m.At(n, k)));
    }
  }
}

void TestOnlyFiniteInputsGiveFiniteResults(Encoding encoding) {
  const Matrix m(encoding, 37, 200);
  for (const float special :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (const std::int64_t rows : {1, 2, 9}) {
      std::vector<float> x = MakeInput(rows, 200);
      x[Size((rows - 1) * 200 + 77)] = special;
      const std::vector<float> out = Multiply(m, x);
      for (std::int64_t i = 0; i < rows * 37; ++i) {
        CHECK(std::isfinite(out[Size(i)]) == (i < (rows - 1) * 37));
      }
    }
  }
}

void TestSmallAndLargeInputs(Encoding encoding) {
  const Matrix m(encoding, 5, 64);
  for (const float factor : {0.0f, 1e-42f, 0x1p-110f, 0x1p110f}) {
    std::vector<float> x = MakeInput(3, 64);
    for (float& value : x) value *= factor;
    CHECK(IsProduct(m, x, Multiply(m, x)));
  }
}

void TestReadRow(Encoding encoding) {
  for (const std::int64_t cols : {1, 33, 96}) {
    const Matrix m(encoding, 3, cols);
    std::vector<float> out(Size(cols));
    for (std::int64_t n = 0; n < 3; ++n) {
      mlc::cpu::ReadRow(m.view, n, 2, out.data());
      for (std::int64_t k = 0; k < cols; ++k) {
        CHECK(out[Size(k)] == static_cast<float>(2 * m.At(n, k)));
      }
    }
  }
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
    for (const Encoding encoding : kEncodings) {
      TestShapesAgainstTheDefinition(encoding);
      TestRowsDependOnNothingElse(encoding);
      TestEveryWeightCounts(encoding);
      TestOnlyFiniteInputsGiveFiniteResults(encoding);
      TestSmallAndLargeInputs(encoding);
      TestReadRow(encoding);
    }
  }
}
