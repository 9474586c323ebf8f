# The hermetic toolchain: zig compiles every lane, whatever the host has.
#
# MLC_LLM_TOOLCHAIN     directory made from ci/locks/toolchain.txt
# MLC_LLM_ZIG_TARGET    the lane's `zig_target`, and
# MLC_LLM_ZIG_CPU       its `cpu` (ci/lanes.toml)
# MLC_LLM_TVM_FFI       set where the lane's platform is not the build machine's (cross/)

foreach(variable MLC_LLM_TOOLCHAIN MLC_LLM_ZIG_TARGET MLC_LLM_ZIG_CPU)
  if(NOT DEFINED ENV{${variable}})
    message(FATAL_ERROR "${variable} is not set in the environment: `nox -s wheels` sets it.")
  endif()
endforeach()

# The others do not ask for CMAKE_CXX_COMPILER, and build with a compiler of their own.
if(NOT CMAKE_GENERATOR STREQUAL "Ninja")
  message(FATAL_ERROR "The generator is \"${CMAKE_GENERATOR}\", which may ignore zig: "
    "configure with -G Ninja.")
endif()

# The target decides what is built, not the machine that builds: PROCESSOR-SYSTEM.VERSION-ABI.
if(NOT "$ENV{MLC_LLM_ZIG_TARGET}" MATCHES "^(x86_64|aarch64)-(linux|windows|macos)([-.]|$)")
  message(FATAL_ERROR "MLC_LLM_ZIG_TARGET is \"$ENV{MLC_LLM_ZIG_TARGET}\", whose processor or "
    "system ci/toolchain/zig.cmake does not know: add it there.")
endif()
set(CMAKE_SYSTEM_PROCESSOR "${CMAKE_MATCH_1}")
set(system_linux Linux)
set(system_windows Windows)
set(system_macos Darwin)
set(CMAKE_SYSTEM_NAME "${system_${CMAKE_MATCH_2}}")

# What Apple's compilers are told besides is in the target.
set(CMAKE_OSX_ARCHITECTURES "")
set(CMAKE_OSX_DEPLOYMENT_TARGET "")
set(CMAKE_OSX_SYSROOT "")

cmake_path(SET zig "$ENV{MLC_LLM_TOOLCHAIN}/ziglang/zig")
if(CMAKE_HOST_WIN32)
  set(zig "${zig}.exe")
endif()

set(CMAKE_CXX_COMPILER "${zig};c++")
# Stripped from the first check on: zig keeps one libc++ per target and strip mode, and each takes
# a minute to compile.
set(CMAKE_CXX_FLAGS_INIT "-target $ENV{MLC_LLM_ZIG_TARGET} -mcpu=$ENV{MLC_LLM_ZIG_CPU} -s")

# Zig keeps compiled objects by content, but not when it must also write a depfile. Every build
# directory of the factory is new, so nothing reads depfiles: without them a rebuild is instant.
set(CMAKE_USER_MAKE_RULES_OVERRIDE_CXX "${CMAKE_CURRENT_LIST_DIR}/no_depfiles.cmake")

# By content whatever the checkout, too. CMake's own checks have no Python, and need none.
if(DEFINED Python_EXECUTABLE)
  set(CMAKE_CXX_COMPILER_LAUNCHER
    "${Python_EXECUTABLE}" -I "${CMAKE_CURRENT_LIST_DIR}/launcher.py" "${CMAKE_SOURCE_DIR}")
endif()

if(DEFINED ENV{MLC_LLM_TVM_FFI})
  set(tvm_ffi_DIR "${CMAKE_CURRENT_LIST_DIR}/cross")
endif()
