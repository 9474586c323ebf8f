#include "ffi/arguments.h"

#include <limits>

namespace mlc {
namespace {

template <typename T>
T Cast(const ffi::Any& value, std::string_view name, const char* wanted) {
  if (auto result = value.try_cast<T>()) return *std::move(result);
  throw TypeError(std::string(name) + " must be " + wanted + ", but it is " + value.GetTypeKey() +
                  ".");
}

}  // namespace

NamedArguments::NamedArguments(ffi::PackedArgs args, int first) {
  for (int i = first; i < args.size(); i += 2) {
    const auto key = args[i].try_cast<ffi::String>();
    if (!key) throw TypeError("Named arguments must begin with their name, a string.");
    const std::string name(*key);
    if (i + 1 == args.size()) throw std::invalid_argument("There is no value for " + name + ".");
    if (!values_.emplace(name, ffi::Any(args[i + 1])).second) {
      throw std::invalid_argument("The argument " + name + " is given twice.");
    }
  }
}

ffi::Any NamedArguments::Take(std::string_view name) {
  const auto found = values_.find(name);
  if (found == values_.end()) {
    throw std::invalid_argument("The argument " + std::string(name) + " is missing.");
  }
  ffi::Any value = std::move(found->second);
  values_.erase(found);
  return value;
}

std::int64_t NamedArguments::TakeInt(std::string_view name, std::int64_t least, std::int64_t most) {
  const auto value = Cast<std::int64_t>(Take(name), name, "an integer");
  if (value < least || value > most) {
    throw std::invalid_argument(std::string(name) + " must be from " + std::to_string(least) +
                                " to " + std::to_string(most) + ", but it is " +
                                std::to_string(value) + ".");
  }
  return value;
}

std::int32_t NamedArguments::TakeInt32(std::string_view name) {
  using Limits = std::numeric_limits<std::int32_t>;
  return static_cast<std::int32_t>(TakeInt(name, Limits::min(), Limits::max()));
}

float NamedArguments::TakeFloat(std::string_view name) {
  return static_cast<float>(Cast<double>(Take(name), name, "a number"));
}

std::string NamedArguments::TakeString(std::string_view name) {
  return Cast<ffi::String>(Take(name), name, "a string");
}

ffi::Function NamedArguments::TakeFunction(std::string_view name) {
  auto function = Cast<ffi::Function>(Take(name), name, "a function");
  if (!function.defined()) throw TypeError(std::string(name) + " must be a function, not None.");
  return function;
}

ffi::Tensor NamedArguments::TakeTensor(std::string_view name) {
  auto tensor = Cast<ffi::Tensor>(Take(name), name, "a tensor");
  if (!tensor.defined()) throw TypeError(std::string(name) + " must be a tensor, not None.");
  return tensor;
}

std::vector<std::pair<std::string, ffi::Tensor>> NamedArguments::TakeTensors(
    std::string_view prefix) {
  std::vector<std::pair<std::string, ffi::Tensor>> tensors;
  auto next = values_.lower_bound(prefix);
  while (next != values_.end() && next->first.starts_with(prefix)) {
    const std::string name = next->first;
    ++next;
    tensors.emplace_back(name.substr(prefix.size()), TakeTensor(name));
  }
  return tensors;
}

void NamedArguments::CheckAllTaken() const {
  if (!values_.empty()) {
    throw std::invalid_argument("There is no argument " + values_.begin()->first + ".");
  }
}

}  // namespace mlc
