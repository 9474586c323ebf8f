# Writes SPIR-V modules as C++: cmake -DOUTPUT=spirv -DDIRECTORY=dir -P embed.cmake makes spirv.h
# and spirv.cc. They depend on the modules' bytes and names alone, wherever this runs.
cmake_minimum_required(VERSION 3.26)

file(GLOB modules "${DIRECTORY}/*.spv")
list(SORT modules)
set(declarations "")
set(definitions "")
foreach(module IN LISTS modules)
  cmake_path(GET module STEM name)
  file(READ "${module}" hex HEX)
  # SPIR-V is a stream of 32-bit words, little-endian in these files; eight to a line.
  string(REGEX REPLACE "(..)(..)(..)(..)" "0x\\4\\3\\2\\1," words "${hex}")
  string(REPEAT "[^,]+," 8 line)
  string(REGEX REPLACE "(${line})" "\\1\n" words "${words}")
  string(APPEND declarations "extern const std::span<const std::uint32_t> ${name};\n")
  string(APPEND definitions "
constexpr std::uint32_t ${name}_words[] = {
${words}
};
constinit const std::span<const std::uint32_t> ${name} = ${name}_words;
")
endforeach()

file(WRITE "${OUTPUT}.h" "// Written by embed.cmake.
#pragma once

#include <cstdint>
#include <span>

/// The SPIR-V modules, by name.
namespace mlc::vulkan::spirv {

${declarations}
}  // namespace mlc::vulkan::spirv
")
file(WRITE "${OUTPUT}.cc" "// Written by embed.cmake.
#include \"spirv.h\"

namespace mlc::vulkan::spirv {
${definitions}
}  // namespace mlc::vulkan::spirv
")
