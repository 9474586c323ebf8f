// A Vulkan loader that fails where MLC_LLM_FAULT says, and else is the system's. Tests let
// MLC_LLM_VULKAN_LOADER name it.
//
//   old            it is one of Vulkan 1.0
//   no-compute     no queue of a device computes
//   lost=N         the device is lost at the N-th submission since the variable was set to that;
//                  others that are opened later work
//   memory=BYTES   a device has no more memory than that
//   own=BYTES      that much of its memory is the device's own, and the rest is the host's
//   staged         the host does not see the device's memory, and none is freed while a copy runs
//   buffers=N      a shader may have no more storage buffers than that
//   subgroups=N    a workgroup may have no more subgroups of a size that is asked for than that
//   overlaps=N     the driver says that it is NVIDIA's, and that the device has N processors
//   skip=N         so it does, and the N-th dispatch whose results are awaited never runs, counted
//                  since the variable was set to that
//   any-size       no shader that uses subgroups compiles, unless it asks for a size of them

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "vulkan/kernel.h"

namespace {

using namespace mlc::vulkan;

struct Real {
  PFN_vkGetInstanceProcAddr get = nullptr;
  PFN_vkGetPhysicalDeviceQueueFamilyProperties queue_families = nullptr;
  PFN_vkGetPhysicalDeviceProperties2 properties = nullptr;
  PFN_vkGetPhysicalDeviceMemoryProperties memory = nullptr;
  PFN_vkGetPhysicalDeviceMemoryProperties2 memory2 = nullptr;
  PFN_vkGetBufferMemoryRequirements requirements = nullptr;
  PFN_vkGetDeviceProcAddr get_device = nullptr;
  PFN_vkQueueSubmit submit = nullptr;
  PFN_vkAllocateMemory allocate = nullptr;
  PFN_vkFreeMemory free = nullptr;
  PFN_vkWaitForFences wait = nullptr;
  PFN_vkCreateDescriptorSetLayout create_layout = nullptr;
  PFN_vkCreateShaderModule create_module = nullptr;
  PFN_vkCreateComputePipelines create_pipelines = nullptr;
  PFN_vkEnumerateDeviceExtensionProperties extensions = nullptr;
  PFN_vkCmdPushConstants push = nullptr;
  PFN_vkCmdDispatch dispatch = nullptr;
};

Real real;
std::uint64_t submissions = 0, allocated = 0;
std::set<VkQueue> lost;
std::map<VkDeviceMemory, std::uint64_t> sizes;
std::set<VkFence> running;
std::set<VkShaderModule> with_subgroups;
std::uint64_t posts = 0;  // dispatches whose results are awaited
bool skips = false;

/// The number of the fault `name`, or 0 where another fault is asked for.
std::uint64_t Fault(const std::string& name) {
  const char* const variable = std::getenv("MLC_LLM_FAULT");
  const std::string fault = variable == nullptr ? "" : variable;
  if (fault == name) return 1;
  return fault.starts_with(name + "=") ? std::stoull(fault.substr(name.size() + 1)) : 0;
}

std::uint64_t Processors() { return Fault("skip") ? 3 : Fault("overlaps"); }

/// Those that there are, and VK_NV_shader_sm_builtins.
VkResult Extensions(VkPhysicalDevice device, const char* layer, std::uint32_t* count,
                    VkExtensionProperties* extensions) {
  if (extensions != nullptr) --*count;
  const VkResult result = real.extensions(device, layer, count, extensions);
  if (extensions != nullptr) {
    extensions[*count] = {};
    std::strcpy(extensions[*count].extensionName, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME);
  }
  ++*count;
  return result;
}

void PushConstants(VkCommandBuffer commands, VkPipelineLayout layout, VkShaderStageFlags stages,
                   std::uint32_t offset, std::uint32_t size, const void* values) {
  real.push(commands, layout, stages, offset, size, values);
  const auto* const overlap = static_cast<const Overlap*>(values);
  static std::uint64_t last = 0;
  if (std::exchange(last, Fault("skip")) != Fault("skip")) posts = 0;
  if (offset > 0 && size == sizeof(Overlap) && overlap->to != 0) skips = ++posts == last;
}

void Dispatch(VkCommandBuffer commands, std::uint32_t x, std::uint32_t y, std::uint32_t z) {
  if (!std::exchange(skips, false)) real.dispatch(commands, x, y, z);
}

void QueueFamilies(VkPhysicalDevice device, std::uint32_t* count,
                   VkQueueFamilyProperties* families) {
  real.queue_families(device, count, families);
  for (std::uint32_t i = 0; families != nullptr && i < *count; ++i) {
    families[i].queueFlags &= ~static_cast<VkQueueFlags>(VK_QUEUE_COMPUTE_BIT);
  }
}

void Properties(VkPhysicalDevice device, VkPhysicalDeviceProperties2* properties) {
  real.properties(device, properties);
  if (const std::uint64_t buffers = Fault("buffers")) {
    properties->properties.limits.maxPerStageDescriptorStorageBuffers =
        static_cast<std::uint32_t>(buffers);
  }
  struct Link {
    VkStructureType type;
    Link* next;
  };
  for (auto* link = reinterpret_cast<Link*>(properties); link != nullptr; link = link->next) {
    if (link->type == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES && Processors()) {
      reinterpret_cast<VkPhysicalDeviceDriverProperties*>(link)->driverID =
          VK_DRIVER_ID_NVIDIA_PROPRIETARY;
    }
    if (link->type == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV) {
      reinterpret_cast<VkPhysicalDeviceShaderSMBuiltinsPropertiesNV*>(link)->shaderSMCount =
          static_cast<std::uint32_t>(Processors());
    }
    if (link->type == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES &&
        Fault("subgroups")) {
      reinterpret_cast<VkPhysicalDeviceSubgroupSizeControlProperties*>(link)
          ->maxComputeWorkgroupSubgroups = static_cast<std::uint32_t>(Fault("subgroups"));
    }
  }
}

/// A second heap and type, for all but the device's own part: of the host, and else like the first.
void Divide(VkPhysicalDeviceMemoryProperties& memory) {
  memory.memoryHeapCount = memory.memoryTypeCount = 2;
  memory.memoryHeaps[1] = {.size = memory.memoryHeaps[0].size - Fault("own"), .flags = 0};
  memory.memoryHeaps[0].size = Fault("own");
  memory.memoryTypes[1] = {.propertyFlags = memory.memoryTypes[0].propertyFlags, .heapIndex = 1};
  memory.memoryTypes[1].propertyFlags &=
      ~static_cast<VkMemoryPropertyFlags>(VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
}

void DividedMemory(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties* memory) {
  real.memory(device, memory);
  Divide(*memory);
}

/// The device's own part is all of it, and hidden from the host.
void StagedMemory(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties* memory) {
  real.memory(device, memory);
  Divide(*memory);
  memory->memoryHeaps[0].size = memory->memoryHeaps[1].size;
  memory->memoryTypes[0].propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
}

VkResult SubmitStaged(VkQueue queue, std::uint32_t count, const VkSubmitInfo* infos,
                      VkFence fence) {
  running.insert(fence);
  return real.submit(queue, count, infos, fence);
}

VkResult WaitStaged(VkDevice device, std::uint32_t count, const VkFence* fences, VkBool32 all,
                    std::uint64_t timeout) {
  for (std::uint32_t i = 0; i < count; ++i) running.erase(fences[i]);
  return real.wait(device, count, fences, all, timeout);
}

void FreeStaged(VkDevice device, VkDeviceMemory memory, const VkAllocationCallbacks* callbacks) {
  if (!running.empty()) {
    std::fputs("memory is freed while the device uses it\n", stderr);
    std::_Exit(3);
  }
  real.free(device, memory, callbacks);
}

/// The budget, where it is asked for, is all that there is.
void DividedMemory2(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties2* memory) {
  real.memory2(device, memory);
  Divide(memory->memoryProperties);
  if (memory->pNext == nullptr) return;
  auto& budget = *static_cast<VkPhysicalDeviceMemoryBudgetPropertiesEXT*>(memory->pNext);
  for (const int heap : {0, 1}) {
    budget.heapBudget[heap] = memory->memoryProperties.memoryHeaps[heap].size;
    budget.heapUsage[heap] = 0;
  }
}

void DividedRequirements(VkDevice device, VkBuffer buffer, VkMemoryRequirements* requirements) {
  real.requirements(device, buffer, requirements);
  requirements->memoryTypeBits = 3;
}

VkResult AllocateDivided(VkDevice device, const VkMemoryAllocateInfo* info,
                         const VkAllocationCallbacks* callbacks, VkDeviceMemory* memory) {
  VkMemoryAllocateInfo first = *info;
  if (first.memoryTypeIndex == 0 && Fault("own")) {
    if (allocated + first.allocationSize > Fault("own")) return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    allocated += first.allocationSize;
  }
  first.memoryTypeIndex = 0;
  return real.allocate(device, &first, callbacks, memory);
}

VkResult CreateLayout(VkDevice device, const VkDescriptorSetLayoutCreateInfo* info,
                      const VkAllocationCallbacks* callbacks, VkDescriptorSetLayout* layout) {
  if (info->bindingCount > Fault("buffers")) return VK_ERROR_INITIALIZATION_FAILED;
  return real.create_layout(device, info, callbacks, layout);
}

VkResult Submit(VkQueue queue, std::uint32_t count, const VkSubmitInfo* infos, VkFence fence) {
  static std::uint64_t last = 0;
  if (std::exchange(last, Fault("lost")) != Fault("lost")) submissions = 0;
  if (++submissions == last) lost.insert(queue);
  return lost.contains(queue) ? VK_ERROR_DEVICE_LOST : real.submit(queue, count, infos, fence);
}

VkResult Allocate(VkDevice device, const VkMemoryAllocateInfo* info,
                  const VkAllocationCallbacks* callbacks, VkDeviceMemory* memory) {
  if (allocated + info->allocationSize > Fault("memory")) return VK_ERROR_OUT_OF_DEVICE_MEMORY;
  const VkResult result = real.allocate(device, info, callbacks, memory);
  if (result == VK_SUCCESS) allocated += sizes[*memory] = info->allocationSize;
  return result;
}

void Free(VkDevice device, VkDeviceMemory memory, const VkAllocationCallbacks* callbacks) {
  allocated -= sizes[memory];
  sizes.erase(memory);
  real.free(device, memory, callbacks);
}

/// Whether a module declares the capability of all that subgroups do, GroupNonUniform.
bool UsesSubgroups(const VkShaderModuleCreateInfo& info) {
  constexpr std::uint32_t kHeaderWords = 5, kCapability = 2u << 16 | 17u, kGroupNonUniform = 61;
  const std::uint32_t* word = info.pCode + kHeaderWords;
  for (; *word == kCapability; word += 2) {
    if (word[1] == kGroupNonUniform) return true;
  }
  return false;
}

VkResult CreateModule(VkDevice device, const VkShaderModuleCreateInfo* info,
                      const VkAllocationCallbacks* callbacks, VkShaderModule* module) {
  const VkResult result = real.create_module(device, info, callbacks, module);
  if (result != VK_SUCCESS) return result;
  with_subgroups.erase(*module);  // which another one may have been called
  if (UsesSubgroups(*info)) with_subgroups.insert(*module);
  return result;
}

VkResult CreatePipelines(VkDevice device, VkPipelineCache cache, std::uint32_t count,
                         const VkComputePipelineCreateInfo* infos,
                         const VkAllocationCallbacks* callbacks, VkPipeline* pipelines) {
  for (std::uint32_t i = 0; i < count; ++i) {
    const VkPipelineShaderStageCreateInfo& stage = infos[i].stage;
    const bool sized = stage.pNext != nullptr &&
                       (stage.flags & VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT);
    if (Fault("any-size") && with_subgroups.contains(stage.module) && !sized) {
      return VK_ERROR_INITIALIZATION_FAILED;
    }
    if (!sized || !Fault("subgroups")) continue;
    const auto* const size =
        static_cast<const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo*>(stage.pNext);
    // The first constant of all shaders that use subgroups.
    const auto invocations = *static_cast<const std::uint32_t*>(stage.pSpecializationInfo->pData);
    if (invocations > Fault("subgroups") * size->requiredSubgroupSize) {
      return VK_ERROR_INITIALIZATION_FAILED;
    }
  }
  return real.create_pipelines(device, cache, count, infos, callbacks, pipelines);
}

template <typename Function>
void* Address(Function function) {
  return reinterpret_cast<void*>(function);
}

/// What stands in the way of `name`, or null.
void* Replacement(const char* name) {
  const auto is = [name](const char* other) { return std::strcmp(name, other) == 0; };
  if (is("vkGetPhysicalDeviceQueueFamilyProperties") && Fault("no-compute")) {
    return Address(QueueFamilies);
  }
  if (is("vkQueueSubmit") && Fault("lost")) return Address(Submit);
  if (is("vkAllocateMemory") && Fault("memory")) return Address(Allocate);
  if (is("vkFreeMemory") && Fault("memory")) return Address(Free);
  if (is("vkGetPhysicalDeviceMemoryProperties") && Fault("own")) return Address(DividedMemory);
  if (is("vkGetPhysicalDeviceMemoryProperties2") && Fault("own")) return Address(DividedMemory2);
  if (is("vkGetPhysicalDeviceMemoryProperties") && Fault("staged")) return Address(StagedMemory);
  if (is("vkQueueSubmit") && Fault("staged")) return Address(SubmitStaged);
  if (is("vkWaitForFences") && Fault("staged")) return Address(WaitStaged);
  if (is("vkFreeMemory") && Fault("staged")) return Address(FreeStaged);
  const bool divided = Fault("own") || Fault("staged");
  if (is("vkGetBufferMemoryRequirements") && divided) return Address(DividedRequirements);
  if (is("vkAllocateMemory") && divided) return Address(AllocateDivided);
  if (is("vkCreateShaderModule") && Fault("any-size")) return Address(CreateModule);
  if (is("vkCreateComputePipelines") && (Fault("any-size") || Fault("subgroups"))) {
    return Address(CreatePipelines);
  }
  if (is("vkGetPhysicalDeviceProperties2") &&
      (Fault("buffers") || Fault("subgroups") || Processors())) {
    return Address(Properties);
  }
  if (is("vkEnumerateDeviceExtensionProperties") && Processors()) return Address(Extensions);
  if (is("vkCmdPushConstants") && Fault("skip")) return Address(PushConstants);
  if (is("vkCmdDispatch") && Fault("skip")) return Address(Dispatch);
  if (is("vkCreateDescriptorSetLayout") && Fault("buffers")) return Address(CreateLayout);
  return nullptr;
}

PFN_vkVoidFunction GetDevice(VkDevice device, const char* name) {
  if (void* const replacement = Replacement(name)) {
    return reinterpret_cast<PFN_vkVoidFunction>(replacement);
  }
  return real.get_device(device, name);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) PFN_vkVoidFunction
vkGetInstanceProcAddr(VkInstance instance, const char* name) {
  if (real.get == nullptr) {
    void* const library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    real.get = reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"));
  }
  const auto find = [&](const char* of) { return real.get(instance, of); };
  const auto load = [&]<typename Function>(Function& function, const char* of) {
    function = reinterpret_cast<Function>(find(of));
  };
  if (std::strcmp(name, "vkEnumerateInstanceVersion") == 0 && Fault("old")) return nullptr;
  if (instance != nullptr && real.submit == nullptr) {
    load(real.queue_families, "vkGetPhysicalDeviceQueueFamilyProperties");
    load(real.properties, "vkGetPhysicalDeviceProperties2");
    load(real.create_layout, "vkCreateDescriptorSetLayout");
    load(real.get_device, "vkGetDeviceProcAddr");
    load(real.submit, "vkQueueSubmit");
    load(real.memory, "vkGetPhysicalDeviceMemoryProperties");
    load(real.memory2, "vkGetPhysicalDeviceMemoryProperties2");
    load(real.requirements, "vkGetBufferMemoryRequirements");
    load(real.allocate, "vkAllocateMemory");
    load(real.free, "vkFreeMemory");
    load(real.wait, "vkWaitForFences");
    load(real.create_module, "vkCreateShaderModule");
    load(real.extensions, "vkEnumerateDeviceExtensionProperties");
    load(real.push, "vkCmdPushConstants");
    load(real.dispatch, "vkCmdDispatch");
    load(real.create_pipelines, "vkCreateComputePipelines");
  }
  if (std::strcmp(name, "vkGetDeviceProcAddr") == 0) {
    return reinterpret_cast<PFN_vkVoidFunction>(Address(GetDevice));
  }
  void* const replacement = Replacement(name);
  return replacement != nullptr ? reinterpret_cast<PFN_vkVoidFunction>(replacement) : find(name);
}
