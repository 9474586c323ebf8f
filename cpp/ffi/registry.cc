// Registers devices and the linear layer with the TVM FFI; each of the folder's other files
// registers what it defines.

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cpu/backend.h"
#include "ffi/device.h"
#include "ffi/translate.h"
#include "runtime/json.h"
#include "runtime/version.h"
#include "vulkan/backend.h"

namespace mlc {
namespace {

std::unique_ptr<Linear> MakeLinear(const std::string& device, const Q4F16Weight& weight) {
  const std::optional<std::uint32_t> gpu = VulkanIndex(device);
  return gpu ? vulkan::MakeLinear(*gpu, weight) : cpu::MakeLinear(weight);
}

/// Returns a function (x: float16 [K], out: float16 [N]) that keeps the weight's tensors alive.
ffi::Function Q4F16Linear(const ffi::String& device, std::int64_t in_features,
                          const ffi::Tensor& words, const ffi::Tensor& scales) {
  return Translate([&] {
    constexpr std::int64_t kMostFeatures = std::numeric_limits<std::int32_t>::max();
    if (in_features < 1 || in_features > kMostFeatures) {
      throw std::invalid_argument("in_features must be from 1 to " + std::to_string(kMostFeatures) +
                                  ".");
    }
    Q4F16Weight weight;
    weight.cols = in_features;
    const std::int64_t groups = weight.groups();
    weight.words =
        ViewTensor<const std::uint32_t>({"words", dtype::kUInt32, {kAnyExtent, groups * 4}}, words);
    weight.rows = words.size(0);
    weight.scales =
        ViewTensor<const std::uint16_t>({"scales", dtype::kFloat16, {weight.rows, groups}}, scales);
    const std::shared_ptr<Linear> linear = MakeLinear(device, weight);
    return ffi::Function::FromTyped([linear, words, scales, rows = weight.rows, cols = weight.cols](
                                        DLTensor* x, DLTensor* out) {
      Translate([&] {
        linear->Apply(ViewTensor<const std::uint16_t>({"x", dtype::kFloat16, {cols}}, *x),
                      ViewTensor<std::uint16_t>({"out", dtype::kFloat16, {rows}}, *out));
      });
    });
  });
}

ffi::String Devices() {
  return Translate([] { return ffi::String(ToJson(cpu::Discover(), vulkan::Discover())); });
}

/// [free bytes, most bytes of one buffer] of a Vulkan device.
ffi::Tensor VulkanMemory(const ffi::String& device) {
  return Translate([&] {
    const std::optional<std::uint32_t> gpu = VulkanIndex(device);
    if (!gpu) throw std::invalid_argument("The memory of the CPU is the system's.");
    const vulkan::DeviceMemory memory = vulkan::GetMemory(*gpu);
    return MakeTensor(dtype::kInt64,
                      std::vector<std::int64_t>{static_cast<std::int64_t>(memory.available_bytes),
                                                static_cast<std::int64_t>(memory.buffer_bytes)});
  });
}

double VulkanBandwidth(const ffi::String& device) {
  return Translate([&] {
    const std::optional<std::uint32_t> gpu = VulkanIndex(device);
    if (!gpu) throw std::invalid_argument("The CPU has no bandwidth of its own.");
    return vulkan::MeasureBandwidth(*gpu);
  });
}

[[maybe_unused]] const bool registered = [] {
  ffi::reflection::GlobalDef()
      .def("mlc_llm.version", [] { return ffi::String(mlc_llm_version()); })
      .def("mlc_llm.devices", Devices)
      .def("mlc_llm.vulkan_memory", VulkanMemory)
      .def("mlc_llm.vulkan_bandwidth", VulkanBandwidth)
      .def("mlc_llm.q4f16_1_linear", Q4F16Linear);
  return true;
}();

}  // namespace
}  // namespace mlc
