#include "vulkan/physical_device.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <vector>

namespace mlc::vulkan {
namespace {

// Arithmetic operations that take half a second or so, of slow GPUs: Windows ends what takes two.
constexpr std::uint64_t kOperations = 100'000'000'000;
constexpr std::uint64_t kFastOperations = 100 * kOperations;  // of the matrix units of fast ones

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

/// The extensions that a device offers.
class Extensions {
 public:
  Extensions(const InstanceFunctions& functions, VkPhysicalDevice handle) {
    std::uint32_t count = 0;
    functions.vkEnumerateDeviceExtensionProperties(handle, nullptr, &count, nullptr);
    offered_.resize(count);
    functions.vkEnumerateDeviceExtensionProperties(handle, nullptr, &count, offered_.data());
    offered_.resize(count);
  }

  bool Offers(std::string_view name) const {
    return std::ranges::any_of(offered_, [name](const VkExtensionProperties& extension) {
      return std::string_view(extension.extensionName) == name;
    });
  }

 private:
  std::vector<VkExtensionProperties> offered_;
};

/// The feature structures of all versions and extensions that a device knows, as one chain.
struct FeatureChain {
  explicit FeatureChain(const Extensions& extensions) {
    core.pNext = &vulkan12;
    void** next = &vulkan12.pNext;
    const auto add = [&](auto& structure, const char* extension) {
      if (!extensions.Offers(extension)) return;
      names.push_back(extension);
      *next = &structure;
      next = &structure.pNext;
    };
    // By name in Vulkan 1.3 too: the shaders are for 1.2, where these are extensions.
    add(dot_product, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
    add(subgroup_size, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    add(matrix, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
  }
  FeatureChain(const FeatureChain&) = delete;  // the links are addresses
  FeatureChain& operator=(const FeatureChain&) = delete;

  VkPhysicalDeviceFeatures2 core;
  VkPhysicalDeviceVulkan12Features vulkan12;
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot_product;
  VkPhysicalDeviceSubgroupSizeControlFeatures subgroup_size;
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
  std::vector<const char*> names;  ///< extensions to be enabled for these structures
};

std::vector<VkCooperativeMatrixPropertiesKHR> ListMatrices(const InstanceFunctions& functions,
                                                           VkPhysicalDevice handle) {
  std::uint32_t count = 0;
  if (functions.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR == nullptr) return {};
  functions.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(handle, &count, nullptr);
  std::vector<VkCooperativeMatrixPropertiesKHR> matrices(count);
  functions.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(handle, &count, matrices.data());
  matrices.resize(count);
  return matrices;
}

Features ReadFeatures(const FeatureChain& chain, const VkPhysicalDeviceSubgroupProperties& subgroup,
                      const VkPhysicalDeviceSubgroupSizeControlProperties& sizes,
                      const Extensions& extensions) {
  const bool in_compute = subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT;
  const auto supports = [&](VkSubgroupFeatureFlagBits operation) {
    return in_compute && (subgroup.supportedOperations & operation);
  };
  return {
      .subgroup_shuffle = supports(VK_SUBGROUP_FEATURE_SHUFFLE_BIT),
      .subgroup_size_control = chain.subgroup_size.subgroupSizeControl == VK_TRUE &&
                               chain.subgroup_size.computeFullSubgroups == VK_TRUE &&
                               (sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT),
      .float16 = chain.vulkan12.shaderFloat16 == VK_TRUE,
      .dot_product = chain.dot_product.shaderIntegerDotProduct == VK_TRUE,
      .cooperative_matrix =
          chain.matrix.cooperativeMatrix == VK_TRUE && chain.vulkan12.vulkanMemoryModel == VK_TRUE,
      .memory_budget = extensions.Offers(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME),
  };
}

}  // namespace

PhysicalDevice Inspect(const InstanceFunctions& functions, VkPhysicalDevice handle,
                       std::string* reason) {
  VkPhysicalDeviceSubgroupSizeControlProperties sizes;
  VkPhysicalDeviceShaderSMBuiltinsPropertiesNV processors;
  VkPhysicalDeviceMaintenance3Properties maintenance3;
  VkPhysicalDeviceSubgroupProperties subgroup{.pNext = &maintenance3};
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
  if (const auto buffers = core.limits.maxPerStageDescriptorStorageBuffers;
      buffers < kLeastBuffers) {
    *reason = "The device " + name + " shows a shader at most " + std::to_string(buffers) +
              " buffers, and " + std::to_string(kLeastBuffers) + " are needed: use another one.";
    return {};
  }
  const Extensions extensions(functions, handle);
  FeatureChain chain(extensions);
  functions.vkGetPhysicalDeviceFeatures2(handle, &chain.core);
  void** next = &maintenance3.pNext;
  if (chain.subgroup_size.subgroupSizeControl) {
    *next = &sizes;
    next = &sizes.pNext;
  }
  if (extensions.Offers(VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME)) *next = &processors;
  properties.pNext = &driver;
  functions.vkGetPhysicalDeviceProperties2(handle, &properties);

  PhysicalDevice device;
  device.handle = handle;
  device.queue_family = *queue_family;
  device.type = core.deviceType;
  functions.vkGetPhysicalDeviceMemoryProperties(handle, &device.memory);
  std::ranges::copy(core.pipelineCacheUUID, device.cache_uuid.begin());

  Capabilities& capabilities = device.capabilities;
  capabilities.features = ReadFeatures(chain, subgroup, sizes, extensions);
  // Nothing tells it but the name of the driver.
  capabilities.features.overlapping_dispatches =
      driver.driverID == VK_DRIVER_ID_NVIDIA_PROPRIETARY && processors.shaderSMCount > 0;
  capabilities.limits = {
      .buffer_range = core.limits.maxStorageBufferRange,
      .allocation = maintenance3.maxMemoryAllocationSize,
      .invocations = std::min(core.limits.maxComputeWorkGroupInvocations,
                              core.limits.maxComputeWorkGroupSize[0]),
      .shared_bytes = core.limits.maxComputeSharedMemorySize,
      .workgroups = core.limits.maxComputeWorkGroupCount[0],
      .buffers = core.limits.maxPerStageDescriptorStorageBuffers,
      .operations = kOperations,
      .matrix_operations =
          core.deviceType == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU ? kFastOperations : kOperations,
      .alignment = static_cast<std::uint32_t>(core.limits.minStorageBufferOffsetAlignment),
      .processors = processors.shaderSMCount,
      .subgroup_size = subgroup.subgroupSize};
  if (capabilities.features.subgroup_size_control) {
    // A workgroup with subgroups of a size that was asked for may have so many of them.
    const std::uint64_t most =
        std::uint64_t{sizes.maxComputeWorkgroupSubgroups} * subgroup.subgroupSize;
    capabilities.limits.invocations =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(capabilities.limits.invocations, most));
  }
  if (capabilities.features.cooperative_matrix) {
    capabilities.matrices = ListMatrices(functions, handle);
  }
  const char* const hidden = std::getenv("MLC_LLM_VULKAN_HIDE");
  if (hidden != nullptr) Hide(hidden, capabilities);

  device.info.name = name;
  device.info.type = TypeName(core.deviceType);
  device.info.driver = std::string(driver.driverName) + " " + driver.driverInfo;
  device.info.memory_bytes =
      device.UsableBytes([&](std::uint32_t heap) { return device.memory.memoryHeaps[heap].size; });
  device.info.subgroup_size = subgroup.subgroupSize;
  device.info.features = ListFeatures(capabilities.features, true);
  device.info.missing = ListFeatures(capabilities.features, false);
  return device;
}

VkResult CreateDevice(const InstanceFunctions& functions, const PhysicalDevice& physical,
                      VkDevice* device) {
  const Extensions extensions(functions, physical.handle);
  FeatureChain offered(extensions);
  FeatureChain enabled(extensions);
  functions.vkGetPhysicalDeviceFeatures2(physical.handle, &offered.core);
  const Features& features = physical.capabilities.features;
  const auto flag = [](bool value) { return value ? VK_TRUE : 0u; };
  enabled.vulkan12.shaderFloat16 = flag(features.float16);
  enabled.vulkan12.vulkanMemoryModel = offered.vulkan12.vulkanMemoryModel;
  enabled.vulkan12.vulkanMemoryModelDeviceScope = offered.vulkan12.vulkanMemoryModelDeviceScope;
  enabled.dot_product.shaderIntegerDotProduct = flag(features.dot_product);
  enabled.subgroup_size.subgroupSizeControl = flag(features.subgroup_size_control);
  enabled.subgroup_size.computeFullSubgroups = flag(features.subgroup_size_control);
  enabled.matrix.cooperativeMatrix = flag(features.cooperative_matrix);
  std::vector<const char*> names = enabled.names;
  if (features.memory_budget) names.push_back(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);

  const float priority = 1.0f;
  const VkDeviceQueueCreateInfo queue{
      .queueFamilyIndex = physical.queue_family, .queueCount = 1, .pQueuePriorities = &priority};
  const VkDeviceCreateInfo info{.pNext = &enabled.core,
                                .queueCreateInfoCount = 1,
                                .pQueueCreateInfos = &queue,
                                .enabledExtensionCount = static_cast<std::uint32_t>(names.size()),
                                .ppEnabledExtensionNames = names.data()};
  return functions.vkCreateDevice(physical.handle, &info, nullptr, device);
}

}  // namespace mlc::vulkan
