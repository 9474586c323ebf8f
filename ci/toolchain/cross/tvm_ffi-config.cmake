# TVM FFI of the lane's platform: its own CMake file asks Python, and gives the build machine's.
#
# MLC_LLM_TVM_FFI       directory that the lane's wheel of apache-tvm-ffi was unpacked into

set(root "$ENV{MLC_LLM_TVM_FFI}/tvm_ffi")
add_library(tvm_ffi::header INTERFACE IMPORTED)
target_include_directories(tvm_ffi::header INTERFACE "${root}/include")
add_library(tvm_ffi::shared SHARED IMPORTED)
set_target_properties(tvm_ffi::shared PROPERTIES
  IMPORTED_IMPLIB "${root}/lib/tvm_ffi.lib"
  IMPORTED_LOCATION "${root}/lib/libtvm_ffi${CMAKE_SHARED_LIBRARY_SUFFIX}")
target_link_libraries(tvm_ffi::shared INTERFACE tvm_ffi::header)
