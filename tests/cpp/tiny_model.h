#pragma once

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "cpu/backend.h"
#include "model/transformer.h"

/// A random float32 transformer, and the memory that its matrices are read from.
class TinyModel {
 public:
  explicit TinyModel(std::int32_t max_rows,
                     std::shared_ptr<mlc::Backend> backend = mlc::cpu::MakeBackend()) {
    mlc::ModelConfig config;
    config.hidden = 32;
    config.intermediate = 48;
    config.layers = 2;
    config.heads = 4;
    config.kv_heads = 2;
    config.head_dim = 8;
    config.vocab = 100;
    config.attention_scale = 0.5f;
    config.rotary_dim = 8;
    config.windows = {0, 0};
    config.rotary_tables = {0, 0};
    config.inverse_frequencies = {{1, 0.1f, 0.01f, 0.001f}};
    AddMatrix("embed", 100, 32);
    AddMatrix("lm_head", 100, 32);
    AddVector("norm");
    for (const std::string layer : {"layers.0.", "layers.1."}) {
      AddMatrix(layer + "qkv", 64, 32);
      AddMatrix(layer + "attention_out", 32, 32);
      AddMatrix(layer + "gate_up", 96, 32);
      AddMatrix(layer + "down", 32, 48);
      AddVector(layer + "attention_norm");
      AddVector(layer + "mlp_norm");
    }
    model_ = std::make_shared<mlc::Transformer>(std::move(config), weights_, std::move(backend),
                                                max_rows);
  }

  const std::shared_ptr<mlc::Transformer>& get() const { return model_; }

 private:
  void AddMatrix(const std::string& name, std::int64_t rows, std::int64_t cols) {
    std::normal_distribution<float> normal(0, 1.5f / std::sqrt(static_cast<float>(cols)));
    std::vector<float>& values = memory_.emplace_back(static_cast<std::size_t>(rows * cols));
    for (float& value : values) value = normal(random_);
    weights_.matrices[name] = {mlc::Encoding::kFloat32, rows, cols, values.data(), nullptr};
  }

  void AddVector(const std::string& name) { weights_.vectors[name] = std::vector<float>(32, 1.0f); }

  std::mt19937 random_{7};
  std::vector<std::vector<float>> memory_;
  mlc::Weights weights_;
  std::shared_ptr<mlc::Transformer> model_;
};
