#pragma once

// The files of this folder are the only ones that know the TVM FFI. They use its C ABI and those
// C++ headers whose object layouts are part of it (String, Function, Tensor, Object, Error).

#include "ffi/posix_memalign.h"

#include <tvm/ffi/tvm_ffi.h>

#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "runtime/tensor.h"

namespace mlc {

namespace ffi = tvm::ffi;

[[noreturn]] inline void Raise(const char* kind, const std::exception& error) {
  throw ffi::Error(kind, error.what(), "");
}

/// Calls `body` and turns the core's exceptions into the FFI's, which Python raises by kind.
template <typename Body>
auto Translate(Body body) {
  try {
    return body();
  } catch (const ffi::Error&) {
    throw;
  } catch (const TypeError& error) {
    Raise("TypeError", error);
  } catch (const std::invalid_argument& error) {
    Raise("ValueError", error);
  } catch (const std::exception& error) {
    Raise("RuntimeError", error);
  }
}

/// The elements of a tensor in host memory, after the checks of CheckTensor.
template <typename T>
std::span<T> ViewTensor(const TensorSpec& spec, const ffi::Tensor& tensor) {
  if (!tensor.defined()) throw TypeError(std::string(spec.name) + " must be a tensor, not None.");
  return ViewTensor<T>(spec, *tensor.GetDLTensorPtr());
}

/// The memory of a tensor that Python receives.
template <typename T>
struct TensorMemory {
  std::vector<T> values;

  void AllocData(DLTensor* tensor) { tensor->data = values.data(); }
  void FreeData(DLTensor*) {}
};

/// A tensor of one dimension.
template <typename T>
ffi::Tensor MakeTensor(DLDataType dtype, std::vector<T> values) {
  const auto count = static_cast<std::int64_t>(values.size());
  return ffi::Tensor::FromNDAlloc(TensorMemory<T>{std::move(values)}, ffi::Shape{count}, dtype,
                                  DLDevice{kDLCPU, 0});
}

}  // namespace mlc
