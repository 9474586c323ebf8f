#pragma once

namespace mlc {

/// Version of the wheel that this library was built for, in PEP 440's spelling.
const char* Version();

}  // namespace mlc
