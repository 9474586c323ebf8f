#include "vulkan/backend.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "vulkan/device.h"
#include "vulkan/kernel.h"
#include "vulkan/result.h"
#include "vulkan/shaders/spirv.h"

namespace mlc::vulkan {
namespace {

/// The shader's push constants.
struct Shape {
  std::uint32_t rows;
  std::uint32_t groups;
};

/// An open device with the matrix-vector product compiled for it.
struct Context {
  Context(const Instance& instance, const PhysicalDevice& physical) : device(instance, physical) {
    // A processor that plays a GPU has no use for more invocations than its vectors hold: they
    // would only take turns. 128 is what every Vulkan device offers.
    const bool software = physical.type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    const std::uint32_t lanes = software ? physical.info.subgroup_size : 64;
    const std::array constants{std::min(lanes, 128u), rows_per_group};
    const auto module =
        physical.subgroup_arithmetic ? spirv::q4f16_1_matvec_subgroup : spirv::q4f16_1_matvec;
    matvec = MakeKernel(device, module, 4, sizeof(Shape), constants);
  }

  static constexpr std::uint32_t rows_per_group = 4;
  Device device;
  Kernel matvec;
};

/// Returns the open device called "vulkan:<index>", which all its users share.
std::shared_ptr<Context> OpenContext(std::uint32_t index) {
  static std::mutex mutex;
  static std::vector<std::weak_ptr<Context>> open;

  const Instance& instance = GetInstance();
  if (index >= instance.devices.size()) {
    throw std::invalid_argument("There is no device vulkan:" + std::to_string(index) + ". " +
                                (instance.devices.empty()
                                     ? instance.reason
                                     : "`mlc_llm devices` lists those that there are."));
  }
  const std::lock_guard lock(mutex);
  open.resize(instance.devices.size());
  std::shared_ptr<Context> context = open[index].lock();
  if (!context) {
    context = std::make_shared<Context>(instance, instance.devices[index]);
    open[index] = context;
  }
  return context;
}

void CheckShape(const Q4F16Weight& weight, const PhysicalDevice& device) {
  if (weight.rows <= 0 || weight.cols <= 0) {
    throw std::invalid_argument("A weight needs at least one row and one column.");
  }
  const auto groups = static_cast<std::size_t>(weight.rows * weight.groups());
  if (weight.words.size() != 4 * groups || weight.scales.size() != groups) {
    throw std::invalid_argument("The weight's words and scales do not have the size of its shape.");
  }
  const std::size_t limit = device.limits.maxStorageBufferRange;
  if (weight.words.size_bytes() > limit) {
    throw std::invalid_argument("The weight has " + std::to_string(weight.words.size_bytes()) +
                                " bytes, and " + device.info.name + " takes at most " +
                                std::to_string(limit) +
                                " in one buffer: split the layer into parts with fewer rows.");
  }
}

/// float16 values as 32-bit words, which is how the shader reads them.
std::vector<std::uint32_t> PackHalves(std::span<const std::uint16_t> halves) {
  std::vector<std::uint32_t> words((halves.size() + 1) / 2);
  std::memcpy(words.data(), halves.data(), halves.size_bytes());
  return words;
}

class MatvecLinear final : public Linear {
 public:
  MatvecLinear(std::shared_ptr<Context> context, const Q4F16Weight& weight)
      : context_(std::move(context)),
        rows_(static_cast<std::size_t>(weight.rows)),
        cols_(static_cast<std::size_t>(weight.cols)) {
    Device& device = context_->device;
    words_ = device.Upload(std::as_bytes(weight.words));
    const std::vector<std::uint32_t> scales = PackHalves(weight.scales);
    scales_ = device.Upload(std::as_bytes(std::span(scales)));
    constexpr VkMemoryPropertyFlags host =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const auto groups = static_cast<std::uint32_t>(weight.groups());
    // The device reads x once for each workgroup; the host reads out.
    x_ = device.MakeBuffer(groups * 32 * sizeof(std::uint16_t), VK_BUFFER_USAGE_STORAGE_BUFFER_BIT,
                           host, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
    out_ = device.MakeBuffer((rows_ + 1) / 2 * sizeof(std::uint32_t),
                             VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, host,
                             VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
    std::ranges::fill(x_.mapped, std::byte{0});  // what pads K to whole groups stays zero
    binding_ = Bind(device, context_->matvec, {&words_, &scales_, &x_, &out_});
    Record({static_cast<std::uint32_t>(rows_), groups});
  }

  void Apply(std::span<const std::uint16_t> x, std::span<std::uint16_t> out) override {
    if (x.size() != cols_ || out.size() != rows_) {
      throw std::invalid_argument("x or out does not have the size of the weight's shape.");
    }
    const std::lock_guard lock(mutex_);
    std::memcpy(x_.mapped.data(), x.data(), x.size_bytes());
    context_->device.Run(commands_);
    std::memcpy(out.data(), out_.mapped.data(), out.size_bytes());
  }

 private:
  void Record(const Shape& shape) {
    const Device& device = context_->device;
    const DeviceFunctions& functions = device.functions();
    const Kernel& kernel = context_->matvec;
    commands_ = device.BeginCommands();
    const VkCommandBuffer buffer = commands_.buffer;
    functions.vkCmdBindPipeline(buffer, VK_PIPELINE_BIND_POINT_COMPUTE, kernel.pipeline.get());
    functions.vkCmdBindDescriptorSets(buffer, VK_PIPELINE_BIND_POINT_COMPUTE, kernel.layout.get(),
                                      0, 1, &binding_.set, 0, nullptr);
    functions.vkCmdPushConstants(buffer, kernel.layout.get(), VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                 sizeof(shape), &shape);
    const std::uint32_t parts =
        (shape.rows + Context::rows_per_group - 1) / Context::rows_per_group;
    // The shader walks on where there are more parts than a dispatch may have workgroups.
    const std::uint32_t most = device.physical().limits.maxComputeWorkGroupCount[0];
    functions.vkCmdDispatch(buffer, std::min(parts, most), 1, 1);
    const VkMemoryBarrier barrier{.srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                                  .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    functions.vkCmdPipelineBarrier(buffer, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                   VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0, nullptr, 0,
                                   nullptr);
    Check(functions.vkEndCommandBuffer(buffer), "record a matrix-vector product");
  }

  const std::shared_ptr<Context> context_;  // first, so that it outlives what is made of it
  const std::size_t rows_;
  const std::size_t cols_;
  Buffer words_;
  Buffer scales_;
  Buffer x_;
  Buffer out_;
  Binding binding_;
  Commands commands_;
  std::mutex mutex_;
};

}  // namespace

Discovery Discover() noexcept {
  Discovery found;
  try {
    const Instance& instance = GetInstance();
    for (const PhysicalDevice& device : instance.devices) found.devices.push_back(device.info);
    found.reason = instance.reason;
  } catch (const std::exception&) {
    found.reason = "Out of memory.";  // fits a string without an allocation
  }
  return found;
}

std::unique_ptr<Linear> MakeLinear(std::uint32_t device, const Q4F16Weight& weight) {
  std::shared_ptr<Context> context = OpenContext(device);
  CheckShape(weight, context->device.physical());
  return std::make_unique<MatvecLinear>(std::move(context), weight);
}

}  // namespace mlc::vulkan
