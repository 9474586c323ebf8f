#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "vulkan/device.h"

namespace mlc::vulkan {

/// Brings data into the device's memory, through a ring of staging buffers where the host does not
/// see that memory: the host fills one part while the device copies another.
class Uploader {
 public:
  /// Writes the bytes [offset, offset + part.size()) of the data. Calls come in order.
  using Fill = std::function<void(std::size_t offset, std::span<std::byte> part)>;

  explicit Uploader(Device& device) : device_(device) {}
  ~Uploader() { Await(); }  // memory must not go while the device reads it
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  /// Uploads `bytes` bytes. Every part but the last has kPart bytes.
  void Write(const Slice& to, std::size_t bytes, const Fill& fill);

  void Write(const Slice& to, std::span<const std::byte> bytes);

  /// Waits until all of it is there, and gives the staging memory back.
  void Finish();

  /// Waits too, and says nothing of what goes wrong: for when something else has.
  void Await() const noexcept;

  static constexpr std::size_t kPart = std::size_t{4} << 20;

 private:
  struct Part {
    Allocation memory;
    Commands commands;  // of the copy that reads it, if any
    Owned<VkFence> fence;
  };

  Part& NextPart();

  Device& device_;
  std::vector<Part> ring_;
  std::size_t next_ = 0;
};

}  // namespace mlc::vulkan
