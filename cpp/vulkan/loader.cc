#include "vulkan/loader.h"

#include <cstdlib>

#include "runtime/system.h"

namespace mlc::vulkan {
namespace {

#ifdef _WIN32
constexpr char kLoaderName[] = "vulkan-1.dll";
constexpr char kInstallHint[] = "install a graphics driver that offers Vulkan";
#elif defined(__APPLE__)
constexpr char kLoaderName[] = "libvulkan.1.dylib";
constexpr char kInstallHint[] = "nothing is missing, Vulkan on a Mac is not tried yet";
#else
constexpr char kLoaderName[] = "libvulkan.so.1";
constexpr char kInstallHint[] =
    "install it (the package libvulkan1 or vulkan-loader) and the GPU's driver";
#endif

}  // namespace

Loader OpenLoader() {
  const char* chosen = std::getenv("MLC_LLM_VULKAN_LOADER");
  const bool overridden = chosen != nullptr && *chosen != '\0';
  const std::string name = overridden ? chosen : kLoaderName;
  void* library = OpenLibrary(name.c_str());
  if (library == nullptr) {
    const std::string hint =
        overridden ? "correct or unset MLC_LLM_VULKAN_LOADER, which names it" : kInstallHint;
    return {.reason = "The Vulkan loader " + name + " cannot be opened: " + hint + "."};
  }
  auto get =
      reinterpret_cast<PFN_vkGetInstanceProcAddr>(FindSymbol(library, "vkGetInstanceProcAddr"));
  if (get == nullptr) {
    return {.reason = name + " is not a Vulkan loader (it lacks vkGetInstanceProcAddr): " +
                      (overridden ? "correct MLC_LLM_VULKAN_LOADER." : "reinstall it.")};
  }
  return {.get_instance_proc_addr = get};
}

}  // namespace mlc::vulkan
