#pragma once

#include <dlpack/dlpack.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string_view>

namespace mlc {

/// An argument of the wrong kind, as opposed to a wrong value (std::invalid_argument).
class TypeError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

namespace dtype {
inline constexpr DLDataType kFloat16 = {kDLFloat, 16, 1};
inline constexpr DLDataType kFloat32 = {kDLFloat, 32, 1};
inline constexpr DLDataType kInt32 = {kDLInt, 32, 1};
inline constexpr DLDataType kInt64 = {kDLInt, 64, 1};
inline constexpr DLDataType kUInt32 = {kDLUInt, 32, 1};
}  // namespace dtype

/// In a wanted shape: any extent of at least one.
inline constexpr std::int64_t kAnyExtent = -1;

/// What an operator wants of one of its arguments; `name` is what error messages call it.
struct TensorSpec {
  std::string_view name;
  DLDataType dtype;
  std::initializer_list<std::int64_t> shape;
};

/// Checks that `tensor` lies in host memory, contiguous and aligned, with the dtype and the shape
/// of `spec`, and returns its first element. Throws TypeError (device, dtype) or
/// std::invalid_argument.
void* CheckTensor(const TensorSpec& spec, const DLTensor& tensor);

/// The elements of a tensor checked by CheckTensor. `T` is the storage type of `spec.dtype`.
template <typename T>
std::span<T> ViewTensor(const TensorSpec& spec, const DLTensor& tensor) {
  T* data = static_cast<T*>(CheckTensor(spec, tensor));
  std::size_t size = 1;
  for (int i = 0; i < tensor.ndim; ++i) size *= static_cast<std::size_t>(tensor.shape[i]);
  return {data, size};
}

}  // namespace mlc
