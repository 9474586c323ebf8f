#include "vulkan/pipeline_cache.h"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "vulkan/device.h"
#include "vulkan/result.h"

namespace mlc::vulkan {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kMostBytes = 64 << 20;

/// Before the driver's data. Drivers check their own header, but not all of them the rest.
struct Head {
  std::array<char, 8> magic = {'m', 'l', 'c', '-', 'v', 'k', 'p', '1'};
  std::uint64_t bytes = 0;
  std::uint64_t hash = 0;

  bool operator==(const Head&) const = default;
};

/// FNV-1a.
std::uint64_t Hash(std::span<const char> data) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : data) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return hash;
}

Head HeadOf(std::span<const char> data) { return {.bytes = data.size(), .hash = Hash(data)}; }

fs::path CacheDirectory() {
  const auto variable = [](const char* name) {
    const char* const value = std::getenv(name);
    return fs::path(value == nullptr ? "" : value);
  };
#ifdef _WIN32
  const fs::path base = variable("LOCALAPPDATA");
#else
  fs::path base = variable("XDG_CACHE_HOME");
  if (!base.is_absolute()) base = variable("HOME").empty() ? "" : variable("HOME") / ".cache";
#endif
  return base.is_absolute() ? base / "mlc_llm" : fs::path();
}

std::string FileName(const PhysicalDevice& physical) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string name = "vulkan-";
  for (const std::uint8_t byte : physical.cache_uuid) {
    name += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return name + ".bin";
}

std::vector<char> Read(const fs::path& path) {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);
  if (error || size < sizeof(Head) || size > kMostBytes) return {};
  std::ifstream file(path, std::ios::binary);
  Head head;
  std::vector<char> data(static_cast<std::size_t>(size) - sizeof(head));
  file.read(reinterpret_cast<char*>(&head), sizeof(head));
  file.read(data.data(), static_cast<std::streamsize>(data.size()));
  if (!file || head != HeadOf(data)) return {};
  return data;
}

void Write(const fs::path& path, std::span<const char> data) {
  fs::create_directories(path.parent_path());
  std::error_code ignored;
  fs::path scratch = path;
  scratch += "." + std::to_string(std::random_device{}());
  {
    std::ofstream file(scratch, std::ios::binary);
    const Head head = HeadOf(data);
    file.write(reinterpret_cast<const char*>(&head), sizeof(head));
    file.write(data.data(), static_cast<std::streamsize>(data.size()));
    file.close();
    if (file) fs::rename(scratch, path, ignored);
  }
  fs::remove(scratch, ignored);
}

}  // namespace

PipelineCache::PipelineCache(const Device& device) : device_(device) {
  const DeviceFunctions& functions = device.functions();
  std::vector<char> data;
  try {
    const fs::path directory = CacheDirectory();
    if (!directory.empty()) path_ = directory / FileName(device.physical());
    if (!path_.empty()) data = Read(path_);
  } catch (const std::exception&) {
    data.clear();
  }
  VkPipelineCacheCreateInfo info{.initialDataSize = data.size(), .pInitialData = data.data()};
  VkPipelineCache handle = nullptr;
  if (functions.vkCreatePipelineCache(device.handle(), &info, nullptr, &handle) != VK_SUCCESS) {
    data.clear();
    info = {};
    Check(functions.vkCreatePipelineCache(device.handle(), &info, nullptr, &handle),
          "make a pipeline cache");
  }
  handle_ = device.Own(handle, functions.vkDestroyPipelineCache);
  saved_bytes_ = data.size();
}

void PipelineCache::Save() noexcept {
  try {
    const DeviceFunctions& functions = device_.functions();
    std::size_t bytes = 0;
    const auto get = [&](void* data) {
      return functions.vkGetPipelineCacheData(device_.handle(), handle_.get(), &bytes, data);
    };
    if (path_.empty() || get(nullptr) != VK_SUCCESS || bytes <= saved_bytes_) return;
    std::vector<char> data(bytes);
    if (get(data.data()) != VK_SUCCESS) return;
    data.resize(bytes);
    Write(path_, data);
    saved_bytes_ = bytes;
  } catch (const std::exception&) {
    // A full or read-only disk.
  }
}

}  // namespace mlc::vulkan
