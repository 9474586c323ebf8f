#include "vulkan/instance.h"

#include <algorithm>
#include <stdexcept>
#include <string_view>

#include "vulkan/loader.h"
#include "vulkan/physical_device.h"
#include "vulkan/result.h"

namespace mlc::vulkan {
namespace {

/// The first error message of the loader or a driver, kept to explain a failure.
VkBool32 KeepFirstMessage(VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT,
                          const VkDebugUtilsMessengerCallbackDataEXT* data, void* user) {
  auto& kept = *static_cast<std::string*>(user);
  if (kept.empty() && data->pMessage != nullptr) kept = data->pMessage;
  return 0;
}

/// Whether the loader reports its errors. One that cannot even list its extensions, which is what a
/// damaged driver file does to it, is asked to: it then says what is damaged.
bool MayReportErrors(const GlobalFunctions& functions) {
  std::uint32_t count = 0;
  std::vector<VkExtensionProperties> extensions;
  VkResult result = functions.vkEnumerateInstanceExtensionProperties(nullptr, &count, nullptr);
  if (result == VK_SUCCESS) {
    extensions.resize(count);
    result = functions.vkEnumerateInstanceExtensionProperties(nullptr, &count, extensions.data());
  }
  if (result != VK_SUCCESS) return true;
  return std::ranges::any_of(extensions, [](const VkExtensionProperties& extension) {
    return std::string_view(extension.extensionName) == VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
  });
}

/// Creates the instance; on failure returns the reason.
std::string Create(const GlobalFunctions& functions, VkInstance* handle) {
  std::string message;
  const VkDebugUtilsMessengerCreateInfoEXT messenger{
      .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
      .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT,
      .pfnUserCallback = KeepFirstMessage,
      .pUserData = &message,
  };
  const bool debug_utils = MayReportErrors(functions);
  const char* extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
  const VkApplicationInfo application{.pApplicationName = "mlc_llm", .apiVersion = kDeviceVersion};
  const VkInstanceCreateInfo info{
      .pNext = debug_utils ? &messenger : nullptr,
      .pApplicationInfo = &application,
      .enabledExtensionCount = debug_utils ? 1u : 0u,
      .ppEnabledExtensionNames = &extension,
  };
  const VkResult result = functions.vkCreateInstance(&info, nullptr, handle);
  if (result == VK_SUCCESS) return "";
  if (message.empty()) message = Describe(result);
  while (message.ends_with('.')) message.pop_back();
  return "The Vulkan loader finds no driver that works (it says: " + message +
         "): install or repair the GPU's driver.";
}

std::string ListDevices(Instance& instance) {
  const InstanceFunctions& functions = instance.functions;
  std::uint32_t count = 0;
  std::vector<VkPhysicalDevice> handles;
  VkResult result = functions.vkEnumeratePhysicalDevices(instance.handle, &count, nullptr);
  if (result == VK_SUCCESS) {
    handles.resize(count);
    result = functions.vkEnumeratePhysicalDevices(instance.handle, &count, handles.data());
    handles.resize(count);
  }
  if (result != VK_SUCCESS && result != VK_INCOMPLETE) {
    return "Vulkan cannot list its devices: " + Describe(result) + ".";
  }
  if (handles.empty()) {
    return "Vulkan works, but no driver offers a device: check that the GPU's driver runs and that "
           "this user may use the GPU.";
  }
  std::string reason;
  for (VkPhysicalDevice handle : handles) {
    PhysicalDevice device = Inspect(functions, handle, &reason);
    if (device.handle == nullptr) continue;
    device.info.id = "vulkan:" + std::to_string(instance.devices.size());
    instance.devices.push_back(std::move(device));
  }
  return instance.devices.empty() ? reason : "";
}

/// The same; what MLC_LLM_VULKAN_HIDE does not take is a reason too.
std::string ListUsableDevices(Instance& instance) {
  try {
    return ListDevices(instance);
  } catch (const std::invalid_argument& error) {
    instance.devices.clear();
    return error.what();
  }
}

/// The loader's entry points, or the reason why there are none.
std::string LoadGlobalFunctions(PFN_vkGetInstanceProcAddr get, GlobalFunctions* functions) {
  const char* missing = functions->Load([get](const char* name) { return get(nullptr, name); });
  std::uint32_t version = 0;
  // A 1.0 loader lacks vkEnumerateInstanceVersion.
  if (missing == nullptr && functions->vkEnumerateInstanceVersion(&version) == VK_SUCCESS &&
      version >= ApiVersion(1, 1)) {
    return "";
  }
  return "The Vulkan loader is older than version 1.1: update it.";
}

Instance MakeInstance() {
  Instance instance;
  const Loader loader = OpenLoader();
  instance.reason = loader.reason;
  if (loader.get_instance_proc_addr == nullptr) return instance;

  GlobalFunctions global;
  instance.reason = LoadGlobalFunctions(loader.get_instance_proc_addr, &global);
  if (!instance.reason.empty()) return instance;
  instance.reason = Create(global, &instance.handle);
  if (!instance.reason.empty()) return instance;

  const char* missing = instance.functions.Load(
      [&](const char* name) { return loader.get_instance_proc_addr(instance.handle, name); });
  // Without even vkDestroyInstance there is nothing that could be cleaned up.
  instance.reason = missing == nullptr
                        ? ListUsableDevices(instance)
                        : "The Vulkan loader lacks " + std::string(missing) + ": update it.";
  return instance;
}

}  // namespace

const Instance& GetInstance() {
  // Never destroyed: at exit, drivers' own threads and, on Windows, the loader lock are in the way.
  static const Instance* const instance = new Instance(MakeInstance());
  return *instance;
}

}  // namespace mlc::vulkan
