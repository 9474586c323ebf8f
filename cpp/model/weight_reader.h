#pragma once

#include <memory>
#include <set>
#include <string>

#include "model/transformer.h"

namespace mlc {

/// Hands weights to a backend by name, checks their shapes, and remembers which were asked for.
/// Every method throws std::invalid_argument, naming the weight, when something is wrong.
class WeightReader {
 public:
  WeightReader(const Weights& weights, Backend& backend, Progress progress);

  bool Has(const std::string& name) const;

  /// `paired`: see Backend::LoadMatrix.
  std::unique_ptr<Matrix> ReadMatrix(const std::string& name, std::int64_t rows, std::int64_t cols,
                                     bool paired = false);
  std::unique_ptr<Buffer> ReadVector(const std::string& name, std::int64_t size);

  /// Null where there is no such vector.
  std::unique_ptr<Buffer> ReadOptionalVector(const std::string& name, std::int64_t size);

  /// Refuses weights that were never asked for: they belong to another kind of model.
  void CheckAllRead() const;

 private:
  const Weights& weights_;
  Backend& backend_;
  const Progress progress_;
  std::int64_t done_ = 0, total_ = 0;  ///< bytes of matrices
  std::set<std::string> read_;
};

}  // namespace mlc
