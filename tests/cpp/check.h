#pragma once

#include <cstdio>
#include <cstdlib>

/// Ends the test, with the place and the expression, unless `condition` holds.
#define CHECK(condition)                                                           \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                \
    }                                                                              \
  } while (false)

/// Ends the test unless `statement` throws `Exception` whose text holds `words`.
#define CHECK_THROWS(statement, Exception, words)                                        \
  do {                                                                                   \
    bool thrown = false;                                                                 \
    try {                                                                                \
      statement;                                                                         \
    } catch (const Exception& exception) {                                               \
      thrown = std::string_view(exception.what()).find(words) != std::string_view::npos; \
      if (!thrown) std::fprintf(stderr, "threw: %s\n", exception.what());                \
    }                                                                                    \
    CHECK(thrown && #statement);                                                         \
  } while (false)
