#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "runtime/float16.h"
#include "vulkan/backend.h"
#include "vulkan/matmul.h"

namespace mlc::vulkan {
namespace {

void CheckShape(const Q4F16Weight& weight) {
  if (weight.rows <= 0 || weight.cols <= 0) {
    throw std::invalid_argument("A weight needs at least one row and one column.");
  }
  const auto groups = static_cast<std::size_t>(weight.rows * weight.groups());
  if (weight.words.size() != 4 * groups || weight.scales.size() != groups) {
    throw std::invalid_argument("The weight's words and scales do not have the size of its shape.");
  }
}

class VulkanLinear final : public Linear {
 public:
  VulkanLinear(std::shared_ptr<Device> device, const Q4F16Weight& weight)
      : device_(std::move(device)),
        rows_(static_cast<std::size_t>(weight.rows)),
        cols_(static_cast<std::size_t>(weight.cols)) {
    const MatMul matmul(*device_);
    Uploader uploader(*device_);
    matrix_ = matmul.Load(
        {Encoding::kQ4Float16, weight.rows, weight.cols, weight.words.data(), weight.scales.data()},
        false, uploader);
    uploader.Finish();
    x_ = device_->memory().Allocate(cols_ * sizeof(float), Place::kStep);
    out_ = device_->memory().Allocate(rows_ * sizeof(float), Place::kReadback);
    ScratchPool scratch{false};
    Recorder recorder(*device_, scratch);
    const RowRange row{.first = 0, .count = 1};
    matmul.Record(recorder, {.matrix = *matrix_, .x = x_.slice(), .out = out_.slice()}, {&row, 1},
                  [](double) {});
    recorder.ShowHost();
    recording_ = recorder.Finish();
    fence_ = device_->MakeFence();
  }

  void Apply(std::span<const std::uint16_t> x, std::span<std::uint16_t> out) override {
    if (x.size() != cols_ || out.size() != rows_) {
      throw std::invalid_argument("x or out does not have the size of the weight's shape.");
    }
    const std::lock_guard lock(mutex_);
    std::ranges::transform(x, x_.Mapped<float>().begin(), Float16ToFloat);
    device_->Submit({&recording_.commands.buffer, 1}, fence_.get());
    device_->Wait(fence_.get());
    std::ranges::transform(out_.Mapped<float>().first(rows_), out.begin(), FloatToFloat16);
  }

 private:
  const std::shared_ptr<Device> device_;  // first, so that it outlives what is made of it
  const std::size_t rows_;
  const std::size_t cols_;
  std::unique_ptr<DeviceMatrix> matrix_;
  Allocation x_, out_;
  Recording recording_;
  Owned<VkFence> fence_;
  std::mutex mutex_;
};

}  // namespace

std::unique_ptr<Linear> MakeLinear(std::uint32_t device, const Q4F16Weight& weight) {
  CheckShape(weight);
  return std::make_unique<VulkanLinear>(OpenDevice(device), weight);
}

}  // namespace mlc::vulkan
