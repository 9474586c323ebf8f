# Writes SPIR-V modules as C++ into a source file: cmake -DOUTPUT=x.cc -DDIRECTORY=dir -P embed.cmake
# The result depends on the modules' bytes and names alone, wherever this runs.
cmake_minimum_required(VERSION 3.26)

file(GLOB modules "${DIRECTORY}/*.spv")
list(SORT modules)
set(definitions "")
foreach(module IN LISTS modules)
  cmake_path(GET module STEM name)
  file(READ "${module}" hex HEX)
  # SPIR-V is a stream of 32-bit words, little-endian in these files; eight to a line.
  string(REGEX REPLACE "(..)(..)(..)(..)" "0x\\4\\3\\2\\1," words "${hex}")
  string(REPEAT "[^,]+," 8 line)
  string(REGEX REPLACE "(${line})" "\\1\n" words "${words}")
  string(APPEND definitions "
constexpr std::uint32_t ${name}_words[] = {
${words}
};
constinit const std::span<const std::uint32_t> ${name} = ${name}_words;
")
endforeach()

file(WRITE "${OUTPUT}" "// Written by embed.cmake.
#include \"vulkan/shaders/spirv.h\"

namespace mlc::vulkan::spirv {
${definitions}
}  // namespace mlc::vulkan::spirv
")
