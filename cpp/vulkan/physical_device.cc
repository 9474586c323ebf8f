#include "vulkan/physical_device.h"

#include <algorithm>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace mlc::vulkan {
namespace {

std::string TypeName(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return "discrete";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return "integrated";
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
      return "software";
    default:
      return "virtual";
  }
}

/// The largest heap of the device's own memory, which on unified memory is the host's.
std::uint64_t DeviceMemory(const VkPhysicalDeviceMemoryProperties& memory) {
  std::uint64_t bytes = 0;
  for (const VkMemoryHeap& heap : std::span(memory.memoryHeaps).first(memory.memoryHeapCount)) {
    if (heap.flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) bytes = std::max(bytes, heap.size);
  }
  return bytes;
}

std::optional<std::uint32_t> FindComputeQueue(const InstanceFunctions& functions,
                                              VkPhysicalDevice handle) {
  std::uint32_t count = 0;
  functions.vkGetPhysicalDeviceQueueFamilyProperties(handle, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  functions.vkGetPhysicalDeviceQueueFamilyProperties(handle, &count, families.data());
  for (std::uint32_t family = 0; family < count; ++family) {
    if (families[family].queueFlags & VK_QUEUE_COMPUTE_BIT) return family;
  }
  return std::nullopt;
}

std::vector<VkExtensionProperties> ListExtensions(const InstanceFunctions& functions,
                                                  VkPhysicalDevice handle) {
  std::uint32_t count = 0;
  functions.vkEnumerateDeviceExtensionProperties(handle, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  functions.vkEnumerateDeviceExtensionProperties(handle, nullptr, &count, extensions.data());
  extensions.resize(count);
  return extensions;
}

/// The fast paths that the device offers, by the names that `mlc_llm devices` shows.
std::vector<std::string> ListFeatures(const InstanceFunctions& functions, VkPhysicalDevice handle,
                                      std::uint32_t api_version) {
  const auto extensions = ListExtensions(functions, handle);
  const auto offers = [&](std::string_view name) {
    return std::ranges::any_of(extensions, [name](const VkExtensionProperties& extension) {
      return std::string_view(extension.extensionName) == name;
    });
  };
  VkPhysicalDeviceFeatures2 features;
  VkPhysicalDeviceVulkan11Features vulkan11;
  VkPhysicalDeviceVulkan12Features vulkan12;
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot_product;
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
  features.pNext = &vulkan11;
  vulkan11.pNext = &vulkan12;
  // A structure may be asked for only where its version or extension is there.
  void** next = &vulkan12.pNext;
  if (api_version >= ApiVersion(1, 3) || offers(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME)) {
    *next = &dot_product;
    next = &dot_product.pNext;
  }
  if (offers(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME)) *next = &matrix;
  functions.vkGetPhysicalDeviceFeatures2(handle, &features);

  std::vector<std::string> names;
  if (vulkan11.storageBuffer16BitAccess) names.emplace_back("storage-16bit");
  if (vulkan12.shaderFloat16) names.emplace_back("float16");
  if (dot_product.shaderIntegerDotProduct) names.emplace_back("integer-dot-product");
  if (matrix.cooperativeMatrix) names.emplace_back("cooperative-matrix");
  return names;
}

}  // namespace

PhysicalDevice Inspect(const InstanceFunctions& functions, VkPhysicalDevice handle,
                       std::string* reason) {
  VkPhysicalDeviceSubgroupProperties subgroup;
  VkPhysicalDeviceDriverProperties driver{.pNext = &subgroup};
  VkPhysicalDeviceProperties2 properties;
  // Which structures a device knows depends on its version, so that is asked for first.
  functions.vkGetPhysicalDeviceProperties2(handle, &properties);
  const VkPhysicalDeviceProperties& core = properties.properties;
  const std::string name = core.deviceName;
  if (core.apiVersion < kDeviceVersion) {
    *reason = "The device " + name + " is older than Vulkan 1.2: update its driver.";
    return {};
  }
  const auto queue_family = FindComputeQueue(functions, handle);
  if (!queue_family) {
    *reason = "The device " + name + " has no compute queue: use another one.";
    return {};
  }
  properties.pNext = &driver;
  functions.vkGetPhysicalDeviceProperties2(handle, &properties);

  PhysicalDevice device;
  device.handle = handle;
  device.queue_family = *queue_family;
  device.subgroup_arithmetic = (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
                               (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT);
  device.type = core.deviceType;
  device.limits = core.limits;
  functions.vkGetPhysicalDeviceMemoryProperties(handle, &device.memory);
  device.info.name = name;
  device.info.type = TypeName(core.deviceType);
  device.info.driver = std::string(driver.driverName) + " " + driver.driverInfo;
  device.info.memory_bytes = DeviceMemory(device.memory);
  device.info.subgroup_size = subgroup.subgroupSize;
  device.info.features = ListFeatures(functions, handle, core.apiVersion);
  if (device.subgroup_arithmetic) device.info.features.emplace_back("subgroup-arithmetic");
  return device;
}

}  // namespace mlc::vulkan
