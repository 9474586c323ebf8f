// Registers models, their caches, and the forward pass.

#include "ffi/model.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "cpu/backend.h"
#include "ffi/arguments.h"
#include "ffi/device.h"
#include "vulkan/backend.h"

namespace mlc {
namespace {

/// A KV cache, as Python holds it.
class CacheObject final : public ffi::Object {
 public:
  explicit CacheObject(std::unique_ptr<KvCache> kv_cache) : cache(std::move(kv_cache)) {}

  const std::unique_ptr<KvCache> cache;

  static constexpr bool _type_mutable = true;
  TVM_FFI_DECLARE_OBJECT_INFO_FINAL("mlc_llm.Cache", CacheObject, ffi::Object);
};

class CacheRef final : public ffi::ObjectRef {
 public:
  explicit CacheRef(ffi::ObjectPtr<CacheObject> object) : ObjectRef(std::move(object)) {}
  TVM_FFI_DEFINE_OBJECT_REF_METHODS_NOTNULLABLE(CacheRef, ffi::ObjectRef, CacheObject);
};

/// A transformer beside the memory that its matrices are read from, if they are.
struct LoadedModel {
  LoadedModel(std::vector<ffi::Tensor> memory, ModelConfig config, const Weights& weights,
              std::shared_ptr<Backend> backend, std::int32_t max_rows, const Progress& progress)
      : tensors(std::move(memory)),
        transformer(std::move(config), weights, std::move(backend), max_rows, progress) {}

  std::vector<ffi::Tensor> tensors;
  Transformer transformer;
};

template <typename T>
std::vector<T> Copy(std::span<const T> values) {
  return {values.begin(), values.end()};
}

ModelConfig TakeConfig(NamedArguments& named) {
  ModelConfig config;
  config.hidden = named.TakeInt32("hidden");
  config.intermediate = named.TakeInt32("intermediate");
  config.layers = named.TakeInt32("layers");
  config.heads = named.TakeInt32("heads");
  config.kv_heads = named.TakeInt32("kv_heads");
  config.head_dim = named.TakeInt32("head_dim");
  config.vocab = named.TakeInt32("vocab");
  config.norm_epsilon = named.TakeFloat("norm_epsilon");
  const std::string activation = named.TakeString("activation");
  if (activation != "silu" && activation != "gelu_tanh") {
    throw std::invalid_argument("activation must be silu or gelu_tanh, but it is " + activation +
                                ".");
  }
  config.activation = activation == "silu" ? Activation::kSilu : Activation::kGeluTanh;
  config.embed_scale = named.TakeFloat("embed_scale");
  config.attention_scale = named.TakeFloat("attention_scale");
  config.attention_softcap = named.TakeFloat("attention_softcap");
  config.logit_softcap = named.TakeFloat("logit_softcap");
  config.rotary_dim = named.TakeInt32("rotary_dim");
  config.rotary_scale = named.TakeFloat("rotary_scale");
  config.half_cache = named.TakeInt("half_cache", 0, 1) != 0;

  const ffi::Tensor windows = named.TakeTensor("windows");
  const ffi::Tensor tables = named.TakeTensor("rotary_tables");
  const ffi::Tensor frequencies = named.TakeTensor("inverse_frequencies");
  config.windows =
      Copy(ViewTensor<const std::int32_t>({"windows", dtype::kInt32, {kAnyExtent}}, windows));
  config.rotary_tables =
      Copy(ViewTensor<const std::int32_t>({"rotary_tables", dtype::kInt32, {kAnyExtent}}, tables));
  const auto values = ViewTensor<const float>(
      {"inverse_frequencies", dtype::kFloat32, {kAnyExtent, kAnyExtent}}, frequencies);
  const auto width = static_cast<std::size_t>(frequencies.size(1));
  for (std::size_t i = 0; i < values.size(); i += width) {
    config.inverse_frequencies.push_back(Copy(values.subspan(i, width)));
  }
  return config;
}

MatrixView ViewMatrix(const std::string& name, const ffi::Tensor& tensor) {
  MatrixView view;
  const bool half = tensor.dtype().bits == 16;
  view.encoding = half ? Encoding::kFloat16 : Encoding::kFloat32;
  view.values =
      CheckTensor({name, half ? dtype::kFloat16 : dtype::kFloat32, {kAnyExtent, kAnyExtent}},
                  *tensor.GetDLTensorPtr());
  view.rows = tensor.size(0);
  view.cols = tensor.size(1);
  return view;
}

MatrixView ViewQuantized(const std::string& name, const ffi::Tensor& words,
                         const ffi::Tensor& scales) {
  MatrixView view;
  const bool half = scales.dtype().bits == 16;
  view.encoding = half ? Encoding::kQ4Float16 : Encoding::kQ4Float32;
  const std::string scales_name = "the scales of " + name;
  view.scales =
      CheckTensor({scales_name, half ? dtype::kFloat16 : dtype::kFloat32, {kAnyExtent, kAnyExtent}},
                  *scales.GetDLTensorPtr());
  view.rows = scales.size(0);
  view.cols = scales.size(1) * 32;
  view.values =
      CheckTensor({name, dtype::kUInt32, {view.rows, scales.size(1) * 4}}, *words.GetDLTensorPtr());
  return view;
}

/// Reads the tensors as weights, and keeps in `tensors` those that are read in place.
Weights TakeWeights(NamedArguments& named, std::vector<ffi::Tensor>& tensors) {
  Weights weights;
  for (const auto& [name, tensor] : named.TakeTensors("weight:")) {
    const std::string scales_name = "scale:" + name;
    if (tensor.ndim() == 1) {
      weights.vectors[name] =
          Copy(ViewTensor<const float>({name, dtype::kFloat32, {kAnyExtent}}, tensor));
    } else if (named.Has(scales_name)) {
      const ffi::Tensor scales = named.TakeTensor(scales_name);
      weights.matrices[name] = ViewQuantized(name, tensor, scales);
      tensors.insert(tensors.end(), {tensor, scales});
    } else {
      weights.matrices[name] = ViewMatrix(name, tensor);
      tensors.push_back(tensor);
    }
  }
  return weights;
}

/// (device, max_rows, *pairs) -> model. See ModelConfig and Weights for the names; where there is a
/// "progress", it is called for each matrix: (name, done, total), in bytes.
ModelRef CreateModel(ffi::PackedArgs args) {
  return Translate([&] {
    const std::string device = GetArgument<ffi::String>(args, 0, "device");
    const std::optional<std::uint32_t> gpu = VulkanIndex(device);
    std::shared_ptr<Backend> backend = gpu ? vulkan::MakeBackend(*gpu) : cpu::MakeBackend();
    const auto rows = GetArgument<std::int64_t>(args, 1, "max_rows");
    const auto max_rows = static_cast<std::int32_t>(std::clamp<std::int64_t>(rows, 0, INT32_MAX));
    NamedArguments named(args, 2);
    ModelConfig config = TakeConfig(named);
    Progress progress;
    if (named.Has("progress")) {
      progress = [report = named.TakeFunction("progress")](const std::string& name,
                                                           std::int64_t done, std::int64_t total) {
        report(ffi::String(name), done, total);
      };
    }
    std::vector<ffi::Tensor> tensors;
    const Weights weights = TakeWeights(named, tensors);
    named.CheckAllTaken();
    const auto loaded =
        std::make_shared<LoadedModel>(gpu ? std::vector<ffi::Tensor>() : tensors, std::move(config),
                                      weights, std::move(backend), max_rows, progress);
    return ModelRef(
        ffi::make_object<ModelObject>(std::shared_ptr<Transformer>(loaded, &loaded->transformer)));
  });
}

/// Of the last step: [dispatches, barriers, submissions, bytes that came back to the host].
ffi::Tensor LastWork(const ModelRef& model) {
  return Translate([&] {
    const StepWork work = model->transformer->LastWork();
    return MakeTensor(dtype::kInt64,
                      std::vector<std::int64_t>{work.dispatches, work.barriers, work.submissions,
                                                work.returned_bytes});
  });
}

CacheRef CreateCache(const ModelRef& model, std::int64_t pages) {
  return Translate([&] {
    const auto count = static_cast<std::int32_t>(std::clamp<std::int64_t>(pages, 0, INT32_MAX));
    return CacheRef(ffi::make_object<CacheObject>(model->transformer->MakeCache(count)));
  });
}

/// Rows of (rows, past, first index into pages), one for each sequence, as BatchSequence.
std::vector<BatchSequence> ReadSequences(std::span<const std::int32_t> table,
                                         std::span<const std::int32_t> pages) {
  std::vector<BatchSequence> sequences;
  std::int64_t row = 0;
  for (std::size_t i = 0; i < table.size(); i += 3) {
    const std::int64_t rows = table[i], past = table[i + 1], first_page = table[i + 2];
    if (rows < 1 || past < 0 || first_page < 0) {
      throw std::invalid_argument("sequences must have at least one row and nothing negative.");
    }
    const std::int64_t count = (past + rows + kPageTokens - 1) / kPageTokens;
    if (first_page + count > static_cast<std::int64_t>(pages.size())) {
      throw std::invalid_argument("sequences needs more pages than there are in pages.");
    }
    if (row + rows > INT32_MAX) throw std::invalid_argument("sequences has too many rows.");
    sequences.push_back(
        {static_cast<std::int32_t>(row), table[i], table[i + 1],
         pages.subspan(static_cast<std::size_t>(first_page), static_cast<std::size_t>(count))});
    row += rows;
  }
  return sequences;
}

/// See Transformer::Forward. `logit_rows` and `out` are both given or both None.
void Forward(const ModelRef& model, const CacheRef& cache, const ffi::Tensor& tokens,
             const ffi::Tensor& sequences, const ffi::Tensor& pages,
             const ffi::Optional<ffi::Tensor>& logit_rows, const ffi::Optional<ffi::Tensor>& out) {
  Translate([&] {
    if (logit_rows.has_value() != out.has_value()) {
      throw std::invalid_argument("logit_rows and out must both be given, or both be None.");
    }
    Batch batch;
    batch.tokens = ViewTensor<const std::int32_t>({"tokens", dtype::kInt32, {kAnyExtent}}, tokens);
    const std::vector<BatchSequence> views = ReadSequences(
        ViewTensor<const std::int32_t>({"sequences", dtype::kInt32, {kAnyExtent, 3}}, sequences),
        ViewTensor<const std::int32_t>({"pages", dtype::kInt32, {kAnyExtent}}, pages));
    batch.sequences = views;
    std::span<float> logits;
    if (out.has_value()) {
      batch.logit_rows =
          ViewTensor<const std::int32_t>({"logit_rows", dtype::kInt32, {kAnyExtent}}, *logit_rows);
      const auto count = static_cast<std::int64_t>(batch.logit_rows.size());
      const std::int64_t vocab = model->transformer->config().vocab;
      logits = ViewTensor<float>({"out", dtype::kFloat32, {count, vocab}}, *out);
    }
    model->transformer->Forward(batch, *cache->cache, logits);
  });
}

[[maybe_unused]] const bool registered = [] {
  ffi::reflection::GlobalDef()
      .def_packed("mlc_llm.model_create",
                  [](ffi::PackedArgs args, ffi::Any* result) { *result = CreateModel(args); })
      .def("mlc_llm.cache_create", CreateCache)
      .def("mlc_llm.model_last_work", LastWork)
      .def("mlc_llm.model_forward", Forward);
  return true;
}();

}  // namespace
}  // namespace mlc
