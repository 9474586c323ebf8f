#include "runtime/version.h"

const char* mlc_llm_version() { return MLC_LLM_VERSION; }
