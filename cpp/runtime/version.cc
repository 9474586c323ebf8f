#include "runtime/version.h"

namespace mlc {

const char* Version() { return MLC_LLM_VERSION; }

}  // namespace mlc
