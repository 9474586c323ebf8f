#include "model/transformer.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "model/check_batch.h"
#include "model/weight_reader.h"

namespace mlc {
namespace {

constexpr std::int32_t kMostRows = 1 << 14;
constexpr std::size_t kMostLogits = std::size_t{8} << 20;  // values in one block: 32 MiB

std::size_t Product(std::int64_t a, std::int64_t b) {
  return static_cast<std::size_t>(a) * static_cast<std::size_t>(b);
}

}  // namespace

Transformer::Transformer(ModelConfig config, const Weights& weights,
                         std::shared_ptr<Backend> backend, std::int32_t max_rows)
    : config_(std::move(config)), backend_(std::move(backend)), max_rows_(max_rows) {
  config_.Check();
  if (max_rows < 1 || max_rows > kMostRows) {
    throw std::invalid_argument("max_rows must be from 1 to " + std::to_string(kMostRows) +
                                ", but it is " + std::to_string(max_rows) + ".");
  }
  LoadWeights(weights);
  AllocateBuffers();
}

void Transformer::LoadWeights(const Weights& weights) {
  const ModelConfig& c = config_;
  const std::int64_t attention_width = std::int64_t{c.heads} * c.head_dim;
  const std::int64_t qkv_width = std::int64_t{c.heads + 2 * c.kv_heads} * c.head_dim;
  WeightReader reader(weights, *backend_);

  embed_ = reader.ReadMatrix("embed", c.vocab, c.hidden);
  if (reader.Has("lm_head")) lm_head_ = reader.ReadMatrix("lm_head", c.vocab, c.hidden);
  norm_ = reader.ReadVector("norm", c.hidden);
  for (const std::vector<float>& table : c.inverse_frequencies) {
    inverse_frequencies_.push_back(backend_->LoadVector(table));
  }
  for (std::int32_t i = 0; i < c.layers; ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".";
    Layer& layer = layers_.emplace_back();
    layer.qkv = reader.ReadMatrix(prefix + "qkv", qkv_width, c.hidden);
    layer.attention_out = reader.ReadMatrix(prefix + "attention_out", c.hidden, attention_width);
    layer.gate_up =
        reader.ReadMatrix(prefix + "gate_up", 2 * std::int64_t{c.intermediate}, c.hidden);
    layer.down = reader.ReadMatrix(prefix + "down", c.hidden, c.intermediate);
    layer.qkv_bias = reader.ReadOptionalVector(prefix + "qkv_bias", qkv_width);
    layer.q_norm = reader.ReadOptionalVector(prefix + "q_norm", c.head_dim);
    layer.k_norm = reader.ReadOptionalVector(prefix + "k_norm", c.head_dim);
    layer.attention_norm = reader.ReadVector(prefix + "attention_norm", c.hidden);
    layer.mlp_norm = reader.ReadVector(prefix + "mlp_norm", c.hidden);
    layer.attention_post_norm = reader.ReadOptionalVector(prefix + "attention_post_norm", c.hidden);
    layer.mlp_post_norm = reader.ReadOptionalVector(prefix + "mlp_post_norm", c.hidden);

    const auto index = static_cast<std::size_t>(i);
    layer.attention = {
        .layer = i,
        .heads = c.heads,
        .kv_heads = c.kv_heads,
        .head_dim = c.head_dim,
        .rotary_dim = c.rotary_dim,
        .inverse_frequencies =
            inverse_frequencies_[static_cast<std::size_t>(c.rotary_tables[index])].get(),
        .rotary_scale = c.rotary_scale,
        .q_norm = layer.q_norm.get(),
        .k_norm = layer.k_norm.get(),
        .norm_epsilon = c.norm_epsilon,
        .scale = c.attention_scale,
        .softcap = c.attention_softcap,
        .window = c.windows[index],
    };
  }
  reader.CheckAllRead();
}

void Transformer::AllocateBuffers() {
  const ModelConfig& c = config_;
  const std::int32_t attention_width = c.heads * c.head_dim;
  const auto allocate = [this](std::int64_t width) {
    return backend_->Allocate(Product(max_rows_, width));
  };
  residual_ = allocate(c.hidden);
  normed_ = allocate(c.hidden);
  delta_ = allocate(c.hidden);
  qkv_ = allocate(attention_width + 2 * c.kv_heads * c.head_dim);
  attended_ = allocate(attention_width);
  picked_ = allocate(attention_width);
  gate_up_ = allocate(2 * std::int64_t{c.intermediate});
  activated_ = allocate(c.intermediate);
  const std::size_t block =
      std::max(std::size_t{1}, kMostLogits / static_cast<std::size_t>(c.vocab));
  logit_block_ = static_cast<std::int32_t>(std::min(block, static_cast<std::size_t>(max_rows_)));
  logits_ = backend_->Allocate(Product(logit_block_, c.vocab));
}

KvLayout Transformer::CacheLayout(std::int32_t pages) const {
  if (pages < 1) {
    throw std::invalid_argument("A cache must have at least one page, but " +
                                std::to_string(pages) + " were asked for.");
  }
  return {.layers = config_.layers,
          .kv_heads = config_.kv_heads,
          .head_dim = config_.head_dim,
          .pages = pages,
          .half = config_.half_cache};
}

std::unique_ptr<KvCache> Transformer::MakeCache(std::int32_t pages) const {
  return backend_->MakeKvCache(CacheLayout(pages));
}

void Transformer::Forward(const Batch& batch, KvCache& cache, std::span<float> logits) {
  if (cache.layout() != CacheLayout(cache.layout().pages)) {
    throw std::invalid_argument("The cache was made for another model.");
  }
  CheckBatch(batch, config_.vocab, max_rows_, cache.layout());
  if (logits.size() != Product(config_.vocab, static_cast<std::int64_t>(batch.logit_rows.size()))) {
    throw std::invalid_argument("The logits must be [logit_rows, vocab].");
  }

  const std::lock_guard lock(mutex_);
  backend_->Begin(batch);
  backend_->Embed(*embed_, config_.embed_scale, *residual_);
  backend_->Norm(*residual_, *layers_.front().attention_norm, config_.norm_epsilon, batch.rows(),
                 config_.hidden, *normed_);
  std::int32_t rows = batch.rows();
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const bool last = i + 1 == layers_.size();
    StoreKeysAndValues(layers_[i], rows, cache);
    if (last && batch.logit_rows.empty()) break;
    backend_->Attend(layers_[i].attention, *qkv_, cache, *attended_);
    if (last) rows = PickRows(batch);
    FinishLayer(layers_[i], last ? *norm_ : *layers_[i + 1].attention_norm, rows);
  }
  WriteLogits(logits);
}

void Transformer::StoreKeysAndValues(const Layer& layer, std::int32_t rows, KvCache& cache) {
  backend_->MatMul(*layer.qkv, layer.qkv_bias.get(), *normed_, rows, *qkv_);
  backend_->Rotate(layer.attention, *qkv_, cache);
}

std::int32_t Transformer::PickRows(const Batch& batch) {
  const auto picked = static_cast<std::int32_t>(batch.logit_rows.size());
  if (picked == batch.rows()) return picked;
  backend_->GatherRows(*attended_, batch.logit_rows, config_.heads * config_.head_dim, *picked_);
  backend_->GatherRows(*residual_, batch.logit_rows, config_.hidden, *normed_);
  std::swap(attended_, picked_);
  std::swap(residual_, normed_);
  return picked;
}

void Transformer::FinishLayer(const Layer& layer, const Buffer& next_norm, std::int32_t rows) {
  const float epsilon = config_.norm_epsilon;
  const std::int32_t hidden = config_.hidden;
  backend_->MatMul(*layer.attention_out, nullptr, *attended_, rows, *delta_);
  backend_->AddNorm(*delta_, layer.attention_post_norm.get(), *layer.mlp_norm, epsilon, rows,
                    hidden, *residual_, *normed_);
  backend_->MatMul(*layer.gate_up, nullptr, *normed_, rows, *gate_up_);
  backend_->Activate(config_.activation, *gate_up_, rows, config_.intermediate, *activated_);
  backend_->MatMul(*layer.down, nullptr, *activated_, rows, *delta_);
  backend_->AddNorm(*delta_, layer.mlp_post_norm.get(), next_norm, epsilon, rows, hidden,
                    *residual_, *normed_);
}

void Transformer::WriteLogits(std::span<float> logits) {
  const Matrix& head = lm_head_ ? *lm_head_ : *embed_;
  const auto vocab = static_cast<std::size_t>(config_.vocab);
  const auto rows = static_cast<std::int32_t>(logits.size() / vocab);
  if (rows == 0) backend_->Read(*residual_, {});
  for (std::int32_t row = 0; row < rows; row += logit_block_) {
    const std::int32_t count = std::min(logit_block_, rows - row);
    const Buffer* input = normed_.get();
    if (count < rows) {
      block_rows_.resize(static_cast<std::size_t>(count));
      std::iota(block_rows_.begin(), block_rows_.end(), row);
      backend_->GatherRows(*normed_, block_rows_, config_.hidden, *residual_);
      input = residual_.get();
    }
    backend_->MatMul(head, nullptr, *input, count, *logits_);
    const std::size_t values = Product(count, config_.vocab);
    if (config_.logit_softcap > 0) backend_->Cap(config_.logit_softcap, values, *logits_);
    backend_->Read(*logits_, logits.subspan(Product(row, config_.vocab), values));
  }
}

}  // namespace mlc
