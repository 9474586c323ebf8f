#pragma once

#include <string>

#include "runtime/device.h"

namespace mlc {

/// `devices` and the `reason`s of each backend as one JSON object, strings escaped.
std::string ToJson(const Discovery& cpu, const Discovery& vulkan);

}  // namespace mlc
