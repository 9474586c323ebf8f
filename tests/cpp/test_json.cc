#include "runtime/json.h"

#include "cpp/check.h"

namespace {

void TestStringsAreEscaped() {
  mlc::DeviceInfo device;
  device.name = "a \"b\" \\ \n\x01 \xc3\xa9";
  const std::string json = mlc::ToJson({{device}, ""}, {{}, "no\tloader"});
  CHECK(json.find(R"("name": "a \"b\" \\ \u000a\u0001 )"
                  "\xc3\xa9\"") != std::string::npos);
  CHECK(json.find(R"("vulkan_reason": "no\u0009loader")") != std::string::npos);
}

void TestDevicesOfBothBackendsAreListed() {
  mlc::DeviceInfo cpu, gpu;
  cpu.id = "cpu";
  cpu.features = {"portable", "avx2"};
  gpu.id = "vulkan:0";
  gpu.memory_bytes = std::uint64_t{1} << 40;
  const std::string json = mlc::ToJson({{cpu}, ""}, {{gpu}, ""});
  CHECK(json.starts_with(R"({"devices": [{"id": "cpu")"));
  CHECK(json.find(R"("features": ["portable", "avx2"], "missing": []}, {"id": "vulkan:0")") !=
        std::string::npos);
  CHECK(json.find(R"("memory_bytes": 1099511627776)") != std::string::npos);
}

}  // namespace

int main() {
  TestStringsAreEscaped();
  TestDevicesOfBothBackendsAreListed();
}
