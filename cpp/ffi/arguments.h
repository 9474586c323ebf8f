#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ffi/translate.h"

namespace mlc {

/// Named arguments: the alternating keys and values at the end of a packed call.
///
/// Each is taken once; what nobody took is refused by name. Errors are TypeError or
/// std::invalid_argument.
class NamedArguments {
 public:
  /// Reads `args` from the `first` on.
  NamedArguments(ffi::PackedArgs args, int first);

  bool Has(std::string_view name) const { return values_.find(name) != values_.end(); }

  std::int64_t TakeInt(std::string_view name, std::int64_t least, std::int64_t most);
  std::int32_t TakeInt32(std::string_view name);
  float TakeFloat(std::string_view name);
  std::string TakeString(std::string_view name);
  ffi::Function TakeFunction(std::string_view name);
  ffi::Tensor TakeTensor(std::string_view name);

  /// Takes every tensor whose name begins with `prefix`; returns them with the rest of the name.
  std::vector<std::pair<std::string, ffi::Tensor>> TakeTensors(std::string_view prefix);

  /// Throws std::invalid_argument when an argument was not taken.
  void CheckAllTaken() const;

 private:
  ffi::Any Take(std::string_view name);

  std::map<std::string, ffi::Any, std::less<>> values_;
};

/// An argument by position. Throws TypeError, with the name, when it is of another type.
template <typename T>
T GetArgument(ffi::PackedArgs args, int index, std::string_view name) {
  if (index >= args.size()) throw TypeError("The argument " + std::string(name) + " is missing.");
  if (auto value = args[index].try_cast<T>()) return *std::move(value);
  throw TypeError("The argument " + std::string(name) + " is of a wrong type (" +
                  args[index].GetTypeKey() + ").");
}

}  // namespace mlc
