#include "runtime/tensor.h"

#include <string>

namespace mlc {
namespace {

std::string DTypeName(DLDataType dtype) {
  const char* code = dtype.code == kDLFloat    ? "float"
                     : dtype.code == kDLUInt   ? "uint"
                     : dtype.code == kDLInt    ? "int"
                     : dtype.code == kDLBfloat ? "bfloat"
                     : dtype.code == kDLBool   ? "bool"
                                               : "dtype of unknown code, bits: ";
  std::string name = code + std::to_string(dtype.bits);
  if (dtype.lanes != 1) name += "x" + std::to_string(dtype.lanes);
  return name;
}

std::string ShapeName(std::span<const std::int64_t> shape) {
  std::string name;
  for (const std::int64_t extent : shape) {
    if (!name.empty()) name += ", ";
    name += extent == kAnyExtent ? "any" : std::to_string(extent);
  }
  return "[" + name + "]";
}

bool Matches(std::span<const std::int64_t> shape, std::span<const std::int64_t> wanted) {
  if (shape.size() != wanted.size()) return false;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 1 || (wanted[i] != kAnyExtent && shape[i] != wanted[i])) return false;
  }
  return true;
}

bool IsContiguous(const DLTensor& tensor) {
  if (tensor.strides == nullptr) return true;
  std::int64_t stride = 1;
  for (int i = tensor.ndim - 1; i >= 0; --i) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != stride) return false;
    stride *= tensor.shape[i];
  }
  return true;
}

}  // namespace

void* CheckTensor(const TensorSpec& spec, const DLTensor& tensor) {
  const std::string name(spec.name);
  if (tensor.device.device_type != kDLCPU) {
    throw TypeError(name + " must be in host memory, but it is on a device (DLPack device type " +
                    std::to_string(tensor.device.device_type) + "); copy it to the CPU first.");
  }
  if (tensor.dtype.code != spec.dtype.code || tensor.dtype.bits != spec.dtype.bits ||
      tensor.dtype.lanes != spec.dtype.lanes) {
    throw TypeError(name + " must be " + DTypeName(spec.dtype) + ", but it is " +
                    DTypeName(tensor.dtype) + ".");
  }
  const std::span<const std::int64_t> shape(tensor.shape, static_cast<std::size_t>(tensor.ndim));
  const std::span<const std::int64_t> wanted(spec.shape.begin(), spec.shape.size());
  if (!Matches(shape, wanted)) {
    throw std::invalid_argument(name + " must have shape " + ShapeName(wanted) +
                                " with no empty dimension, but it has shape " + ShapeName(shape) +
                                ".");
  }
  if (!IsContiguous(tensor)) {
    throw std::invalid_argument(name + " must be contiguous in row-major order; copy it first.");
  }
  char* data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  if (reinterpret_cast<std::uintptr_t>(data) % (tensor.dtype.bits / 8) != 0) {
    throw std::invalid_argument(name + " must be aligned to its element size; copy it first.");
  }
  return data;
}

}  // namespace mlc
