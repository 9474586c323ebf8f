#pragma once

/// Version of the wheel that this library was built for, in PEP 440's spelling.
extern "C" const char* mlc_llm_version();
