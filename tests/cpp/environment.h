#pragma once

#include <cstdlib>

/// Sets an environment variable of this process; null removes it.
inline void SetVariable(const char* name, const char* value) {
#if defined(_WIN32)
  _putenv_s(name, value == nullptr ? "" : value);
#else
  if (value == nullptr) {
    unsetenv(name);
  } else {
    setenv(name, value, 1);
  }
#endif
}
