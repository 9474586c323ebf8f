#include "model/weight_reader.h"

#include <stdexcept>
#include <utility>

namespace mlc {
namespace {

std::string Shape(std::int64_t rows, std::int64_t cols) {
  return "[" + std::to_string(rows) + ", " + std::to_string(cols) + "]";
}

[[noreturn]] void RefuseMissing(const std::string& name) {
  throw std::invalid_argument("The model lacks the weight \"" + name + "\".");
}

}  // namespace

WeightReader::WeightReader(const Weights& weights, Backend& backend, Progress progress)
    : weights_(weights), backend_(backend), progress_(std::move(progress)) {
  for (const auto& [name, view] : weights.matrices) total_ += view.rows * view.row_bytes();
}

bool WeightReader::Has(const std::string& name) const {
  return weights_.matrices.contains(name) || weights_.vectors.contains(name);
}

std::unique_ptr<Matrix> WeightReader::ReadMatrix(const std::string& name, std::int64_t rows,
                                                 std::int64_t cols, bool paired) {
  const auto found = weights_.matrices.find(name);
  if (found == weights_.matrices.end()) RefuseMissing(name);
  MatrixView view = found->second;
  const std::int64_t padded = (cols + 31) / 32 * 32;
  if (view.quantized() && view.cols == padded) view.cols = cols;
  if (view.rows != rows || view.cols != cols) {
    throw std::invalid_argument("The weight \"" + name + "\" must have shape " + Shape(rows, cols) +
                                ", but it has shape " + Shape(view.rows, view.cols) + ".");
  }
  read_.insert(name);
  if (progress_) progress_(name, done_, total_);
  done_ += view.rows * view.row_bytes();
  return backend_.LoadMatrix(view, paired);
}

std::unique_ptr<Buffer> WeightReader::ReadVector(const std::string& name, std::int64_t size) {
  const auto found = weights_.vectors.find(name);
  if (found == weights_.vectors.end()) RefuseMissing(name);
  if (found->second.size() != static_cast<std::size_t>(size)) {
    throw std::invalid_argument("The weight \"" + name + "\" must have " + std::to_string(size) +
                                " values, but it has " + std::to_string(found->second.size()) +
                                ".");
  }
  read_.insert(name);
  return backend_.LoadVector(found->second);
}

std::unique_ptr<Buffer> WeightReader::ReadOptionalVector(const std::string& name,
                                                         std::int64_t size) {
  return Has(name) ? ReadVector(name, size) : nullptr;
}

void WeightReader::CheckAllRead() const {
  const auto check = [this](const auto& weights) {
    for (const auto& [name, weight] : weights) {
      if (!read_.contains(name)) {
        throw std::invalid_argument("The model has no place for the weight \"" + name + "\".");
      }
    }
  };
  if (progress_) progress_("", done_, total_);
  check(weights_.matrices);
  check(weights_.vectors);
}

}  // namespace mlc
