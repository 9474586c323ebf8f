#pragma once

#include <filesystem>

#include "vulkan/handles.h"

namespace mlc::vulkan {

class Device;

/// Pipelines that the driver has compiled before, in a file of the user's cache directory. The file
/// belongs to one driver in one version; a damaged one, or none, means to compile again.
class PipelineCache {
 public:
  explicit PipelineCache(const Device& device);

  VkPipelineCache handle() const { return handle_.get(); }

  /// Writes the file anew, if anything was compiled since it was read. All of it or nothing; never
  /// throws, since only time is lost without it.
  void Save() noexcept;

 private:
  const Device& device_;
  std::filesystem::path path_;  ///< empty where there is no place for it
  std::size_t saved_bytes_ = 0;
  Owned<VkPipelineCache> handle_;
};

}  // namespace mlc::vulkan
