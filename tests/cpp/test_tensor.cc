#include "runtime/tensor.h"

#include <array>
#include <functional>
#include <string_view>

#include "cpp/check.h"

namespace {

/// A valid [2, 3] uint32 tensor, that each case breaks in one way.
struct Sample {
  std::array<std::uint32_t, 8> data{};
  std::array<std::int64_t, 2> shape = {2, 3};
  std::array<std::int64_t, 2> strides = {3, 1};
  DLTensor tensor = {data.data(),  {kDLCPU, 0},    2, mlc::dtype::kUInt32,
                     shape.data(), strides.data(), 0};
};

std::span<std::uint32_t> View(const Sample& sample) {
  return mlc::ViewTensor<std::uint32_t>({"words", mlc::dtype::kUInt32, {mlc::kAnyExtent, 3}},
                                        sample.tensor);
}

template <typename Exception>
void TestRefusal(const std::function<void(Sample&)>& spoil, std::string_view words) {
  Sample sample;
  spoil(sample);
  CHECK_THROWS(View(sample), Exception, words);
  CHECK_THROWS(View(sample), Exception, "words must be");
}

void TestRefusals() {
  using Value = std::invalid_argument;
  TestRefusal<mlc::TypeError>([](Sample& s) { s.tensor.device.device_type = kDLCUDA; }, "type 2");
  TestRefusal<mlc::TypeError>([](Sample& s) { s.tensor.dtype = mlc::dtype::kFloat16; },
                              "uint32, but it is float16");
  TestRefusal<mlc::TypeError>([](Sample& s) { s.tensor.dtype.lanes = 2; }, "is uint32x2");
  TestRefusal<Value>([](Sample& s) { s.strides = {1, 2}; }, "contiguous");
  TestRefusal<Value>([](Sample& s) { s.strides = {6, 2}; }, "contiguous");
  TestRefusal<Value>([](Sample& s) { s.tensor.byte_offset = 2; }, "aligned");
}

void TestShapeRefusals() {
  Sample rank, extent, empty;
  rank.tensor.ndim = 1;
  extent.shape = {2, 4};
  empty.shape = {0, 3};
  CHECK_THROWS(View(rank), std::invalid_argument, "shape [any, 3]");
  CHECK_THROWS(View(extent), std::invalid_argument, "it has shape [2, 4]");
  CHECK_THROWS(View(empty), std::invalid_argument, "no empty dimension");
}

void TestAcceptance() {
  Sample sample;
  CHECK(View(sample).data() == sample.data.data() && View(sample).size() == 6);
  sample.tensor.byte_offset = 4;
  CHECK(View(sample).data() == sample.data.data() + 1);
  sample.tensor.strides = nullptr;
  CHECK(View(sample).size() == 6);
  sample.tensor.strides = sample.strides.data();
  sample.shape = {1, 3};
  sample.strides = {77, 1};  // of no meaning for one row
  CHECK(View(sample).size() == 3);
}

}  // namespace

int main() {
  TestRefusals();
  TestShapeRefusals();
  TestAcceptance();
}
