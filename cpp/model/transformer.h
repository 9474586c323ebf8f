#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "model/config.h"
#include "runtime/backend.h"

namespace mlc {

/// Weights by name, in host memory that outlives the model. Matrices: "embed", "lm_head" (absent
/// when tied to "embed"), and of each layer i "layers.i." + "qkv", "attention_out", "gate_up",
/// "down". Vectors: "norm", and of each layer "attention_norm", "mlp_norm", and where the family
/// has them "qkv_bias", "q_norm", "k_norm", "attention_post_norm", "mlp_post_norm".
struct Weights {
  std::map<std::string, MatrixView> matrices;
  std::map<std::string, std::vector<float>> vectors;
};

/// Called as weights are loaded: the next one's name, and bytes of all weights.
using Progress =
    std::function<void(const std::string& name, std::int64_t done, std::int64_t total)>;

/// A decoder-only transformer on one backend.
class Transformer {
 public:
  /// The weights are read in place. Throws std::invalid_argument when a weight is missing, unknown,
  /// or of a wrong shape. A quantized matrix may count the padding of its rows in `cols`.
  Transformer(ModelConfig config, const Weights& weights, std::shared_ptr<Backend> backend,
              std::int32_t max_rows, const Progress& progress = nullptr);

  /// What the last step made the device do. Calls take turns with those below.
  StepWork LastWork() const;

  const ModelConfig& config() const { return config_; }
  std::int32_t max_rows() const { return max_rows_; }  ///< most rows of one batch

  /// The memory of a cache of `pages` pages. Throws std::invalid_argument below one page.
  KvLayout CacheLayout(std::int32_t pages) const;

  /// A cache of `pages` pages for this model.
  std::unique_ptr<KvCache> MakeCache(std::int32_t pages) const;

  /// Runs one batch, appends its keys and values to `cache`, and writes the logits of
  /// `batch.logit_rows`: [logit_rows, vocab]. Calls from several threads take turns.
  /// Throws std::invalid_argument, before anything is computed, for a batch that does not fit the
  /// model or the cache: a token, position, page or row out of range, or a page that two rows
  /// write.
  void Forward(const Batch& batch, KvCache& cache, std::span<float> logits);

  /// Whether `Rank` may be called for this many rows of logits.
  bool Ranks(std::size_t logit_rows) const;

  /// Takes the answer to the query of one of the logit rows. For whom that is not enough returns
  /// where to write the row's adjusted logits, [vocab]; else nothing.
  using Accept = std::function<std::span<float>(std::size_t index, const Shortlist& answer)>;

  /// As `Forward`, but answers `batch.queries`, one for each of `batch.logit_rows`.
  void Rank(const Batch& batch, KvCache& cache, const Accept& accept);

 private:
  struct Layer {
    AttentionSpec attention;
    std::unique_ptr<Matrix> qkv, attention_out, gate_up, down;
    std::unique_ptr<Buffer> qkv_bias, q_norm, k_norm;  // or none
    std::unique_ptr<Buffer> attention_norm, mlp_norm;
    std::unique_ptr<Buffer> attention_post_norm, mlp_post_norm;  // or none
  };

  void LoadWeights(const Weights& weights, const Progress& progress);
  void AllocateBuffers();
  void Check(const Batch& batch, const KvCache& cache) const;
  void RunLogits(const Batch& batch, std::int32_t first_row, std::int32_t rows);
  NormSpec Norm(const std::unique_ptr<Buffer>& weight) const;
  void RunLayers(const Batch& batch);
  void FinishLayer(const Layer& layer, std::int32_t rows, const Buffer& attended, Buffer& residual);

  const ModelConfig config_;
  const std::shared_ptr<Backend> backend_;
  const std::int32_t max_rows_;
  std::int32_t logit_block_ = 0;  // rows of `logits_`

  std::unique_ptr<Matrix> embed_, lm_head_;  // no lm_head where it is tied
  std::unique_ptr<Buffer> norm_;
  std::vector<std::unique_ptr<Buffer>> inverse_frequencies_;
  std::vector<Layer> layers_;

  // Activations of one step, for `max_rows_` rows.
  mutable std::mutex mutex_;
  std::unique_ptr<Buffer> residual_, qkv_, attended_, activated_;
  std::unique_ptr<Buffer> picked_residual_,
      picked_attended_;  // of the rows whose logits are wanted
  std::unique_ptr<Buffer> logits_;
};

}  // namespace mlc
