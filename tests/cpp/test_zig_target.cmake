# The lane's target, and not this machine, says for which system and processor zig compiles.
set(CMAKE_GENERATOR Ninja)
set(ENV{MLC_LLM_TOOLCHAIN} "unused")
set(ENV{MLC_LLM_ZIG_CPU} "unused")

foreach(row IN ITEMS
    "x86_64-linux-gnu.2.28=Linux x86_64"
    "aarch64-linux-gnu.2.28=Linux aarch64"
    "x86_64-windows-gnu=Windows x86_64"
    "aarch64-macos.11.0=Darwin aarch64")
  string(REGEX MATCH "(.*)=(.*)" row "${row}")
  set(target "${CMAKE_MATCH_1}")
  set(expected "${CMAKE_MATCH_2}")
  set(ENV{MLC_LLM_ZIG_TARGET} "${target}")
  include("${CMAKE_CURRENT_LIST_DIR}/../../ci/toolchain/zig.cmake")
  set(found "${CMAKE_SYSTEM_NAME} ${CMAKE_SYSTEM_PROCESSOR}")
  if(NOT found STREQUAL expected)
    message(FATAL_ERROR "${target} gives \"${found}\" instead of \"${expected}\".")
  endif()
endforeach()
