#include "model/transformer.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "model/check_batch.h"
#include "model/weight_reader.h"

namespace mlc {
namespace {

constexpr std::int32_t kMostRows = 1 << 14;
// The parts of a step, as Backend::Run knows them; from kLogits on, one for each block of logits.
enum Part : std::int32_t { kLayers, kRanks, kLogits };

constexpr std::size_t kMostLogits = std::size_t{8} << 20;  // values in one block: 32 MiB

std::size_t Product(std::int64_t a, std::int64_t b) {
  return static_cast<std::size_t>(a) * static_cast<std::size_t>(b);
}

}  // namespace

Transformer::Transformer(ModelConfig config, const Weights& weights,
                         std::shared_ptr<Backend> backend, std::int32_t max_rows,
                         const Progress& progress)
    : config_(std::move(config)), backend_(std::move(backend)), max_rows_(max_rows) {
  config_.Check();
  if (max_rows < 1 || max_rows > kMostRows) {
    throw std::invalid_argument("max_rows must be from 1 to " + std::to_string(kMostRows) +
                                ", but it is " + std::to_string(max_rows) + ".");
  }
  try {
    LoadWeights(weights, progress);
    AllocateBuffers();
  } catch (...) {
    backend_->FinishLoading();  // what is loaded so far goes before the backend does
    throw;
  }
}

void Transformer::LoadWeights(const Weights& weights, const Progress& progress) {
  const ModelConfig& c = config_;
  const std::int64_t attention_width = std::int64_t{c.heads} * c.head_dim;
  const std::int64_t qkv_width = std::int64_t{c.heads + 2 * c.kv_heads} * c.head_dim;
  WeightReader reader(weights, *backend_, progress);

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
        reader.ReadMatrix(prefix + "gate_up", 2 * std::int64_t{c.intermediate}, c.hidden, true);
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
  qkv_ = allocate(attention_width + 2 * c.kv_heads * c.head_dim);
  attended_ = allocate(attention_width);
  picked_residual_ = allocate(c.hidden);
  picked_attended_ = allocate(attention_width);
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
  const std::lock_guard lock(mutex_);
  return backend_->MakeKvCache(CacheLayout(pages));
}

void Transformer::Check(const Batch& batch, const KvCache& cache) const {
  if (cache.layout() != CacheLayout(cache.layout().pages)) {
    throw std::invalid_argument("The cache was made for another model.");
  }
  CheckBatch(batch, config_.vocab, max_rows_, cache.layout());
}

void Transformer::Forward(const Batch& batch, KvCache& cache, std::span<float> logits) {
  Check(batch, cache);
  if (logits.size() != Product(config_.vocab, static_cast<std::int64_t>(batch.logit_rows.size()))) {
    throw std::invalid_argument("The logits must be [logit_rows, vocab].");
  }
  const std::lock_guard lock(mutex_);
  backend_->Begin(batch, cache);
  backend_->Run(kLayers, [&] { RunLayers(batch); });
  const auto rows = static_cast<std::int32_t>(batch.logit_rows.size());
  if (rows == 0) backend_->Read(*residual_, 0, {});
  for (std::int32_t row = 0; row < rows; row += logit_block_) {
    const std::int32_t count = std::min(logit_block_, rows - row);
    backend_->Run(kLogits + row / logit_block_, [&] { RunLogits(batch, row, count); });
    backend_->Read(*logits_, 0,
                   logits.subspan(Product(row, config_.vocab), Product(count, config_.vocab)));
  }
}

StepWork Transformer::LastWork() const {
  const std::lock_guard lock(mutex_);
  return backend_->work();
}

bool Transformer::Ranks(std::size_t logit_rows) const {
  return backend_->ranks_tokens() && config_.vocab <= kMostRankedTokens && logit_rows > 0 &&
         logit_rows <= static_cast<std::size_t>(logit_block_);
}

void Transformer::Rank(const Batch& batch, KvCache& cache, const Accept& accept) {
  Check(batch, cache);
  const std::size_t rows = batch.logit_rows.size();
  if (!Ranks(rows) || batch.queries.size() != rows) {
    throw std::invalid_argument("There must be a query for each of the logit rows.");
  }
  const std::lock_guard lock(mutex_);
  backend_->Begin(batch, cache);
  backend_->Run(kLayers, [&] { RunLayers(batch); });
  backend_->Run(kRanks, [&] {
    RunLogits(batch, 0, static_cast<std::int32_t>(rows));
    backend_->RankTokens(*logits_, config_.vocab);
  });
  std::vector<Shortlist> answers(rows);
  backend_->ReadRanked(answers);
  for (std::size_t i = 0; i < rows; ++i) {
    const std::span<float> logits = accept(i, answers[i]);
    if (!logits.empty()) {
      backend_->Read(*logits_, i * static_cast<std::size_t>(config_.vocab), logits);
    }
  }
}

void Transformer::RunLogits(const Batch& batch, std::int32_t first_row, std::int32_t rows) {
  const bool picked = batch.logit_rows.size() < batch.tokens.size();
  backend_->Logits(Norm(norm_), lm_head_ ? *lm_head_ : *embed_, config_.logit_softcap,
                   picked ? *picked_residual_ : *residual_, first_row, rows, *logits_);
}

NormSpec Transformer::Norm(const std::unique_ptr<Buffer>& weight) const {
  return {.weight = weight.get(), .epsilon = config_.norm_epsilon};
}

void Transformer::RunLayers(const Batch& batch) {
  const auto wanted = static_cast<std::int32_t>(batch.logit_rows.size());
  backend_->Embed(*embed_, config_.embed_scale, *residual_);
  for (const Layer& layer : layers_) {
    const bool last = &layer == &layers_.back();
    backend_->Project(Norm(layer.attention_norm), *layer.qkv, layer.qkv_bias.get(), *residual_,
                      batch.rows(), *qkv_);
    backend_->Attend(layer.attention, *qkv_, last && wanted == 0 ? nullptr : attended_.get());
    if (!last) {
      FinishLayer(layer, batch.rows(), *attended_, *residual_);
    } else if (wanted == batch.rows()) {
      FinishLayer(layer, wanted, *attended_, *residual_);
    } else if (wanted > 0) {
      backend_->GatherRows(*attended_, config_.heads * config_.head_dim, *picked_attended_);
      backend_->GatherRows(*residual_, config_.hidden, *picked_residual_);
      FinishLayer(layer, wanted, *picked_attended_, *picked_residual_);
    }
  }
}

void Transformer::FinishLayer(const Layer& layer, std::int32_t rows, const Buffer& attended,
                              Buffer& residual) {
  const auto add = [&](const Matrix& matrix, const std::unique_ptr<Buffer>& post_norm,
                       const Buffer& x) {
    const NormSpec norm = Norm(post_norm);
    backend_->AddProject(matrix, post_norm ? &norm : nullptr, x, rows, residual);
  };
  add(*layer.attention_out, layer.attention_post_norm, attended);
  backend_->Gate(Norm(layer.mlp_norm), *layer.gate_up, config_.activation, residual, rows,
                 *activated_);
  add(*layer.down, layer.mlp_post_norm, *activated_);
}

}  // namespace mlc
