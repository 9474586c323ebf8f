// Registers the engine: requests go in by name, tokens come out through a callback.

#include "engine/engine.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "ffi/arguments.h"
#include "ffi/model.h"

namespace mlc {
namespace {

/// An engine, as Python holds it.
class EngineObject final : public ffi::Object {
 public:
  EngineObject(std::shared_ptr<Transformer> model, const EngineLimits& limits)
      : engine(std::move(model), limits) {}

  Engine engine;

  static constexpr bool _type_mutable = true;
  TVM_FFI_DECLARE_OBJECT_INFO_FINAL("mlc_llm.Engine", EngineObject, ffi::Object);
};

class EngineRef final : public ffi::ObjectRef {
 public:
  explicit EngineRef(ffi::ObjectPtr<EngineObject> object) : ObjectRef(std::move(object)) {}
  TVM_FFI_DEFINE_OBJECT_REF_METHODS_NOTNULLABLE(EngineRef, ffi::ObjectRef, EngineObject);
};

std::int32_t Clamp(std::int64_t value) {
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(value, INT32_MIN, INT32_MAX));
}

std::vector<std::int32_t> Tokens(std::string_view name, const ffi::Tensor& tensor) {
  const auto tokens = ViewTensor<const std::int32_t>({name, dtype::kInt32, {kAnyExtent}}, tensor);
  return {tokens.begin(), tokens.end()};
}

/// (model, pages, max_sequences, max_context) -> engine. See EngineLimits.
EngineRef CreateEngine(const ModelRef& model, std::int64_t pages, std::int64_t max_sequences,
                       std::int64_t max_context) {
  return Translate([&] {
    const EngineLimits limits{.pages = Clamp(pages),
                              .max_sequences = Clamp(max_sequences),
                              .max_context = Clamp(max_context)};
    return EngineRef(ffi::make_object<EngineObject>(model->transformer, limits));
  });
}

Sampling TakeSampling(NamedArguments& named) {
  Sampling sampling;
  for (const auto& [name, field] : {std::pair{"temperature", &Sampling::temperature},
                                    {"top_p", &Sampling::top_p},
                                    {"min_p", &Sampling::min_p},
                                    {"repetition_penalty", &Sampling::repetition_penalty},
                                    {"presence_penalty", &Sampling::presence_penalty},
                                    {"frequency_penalty", &Sampling::frequency_penalty}}) {
    if (named.Has(name)) sampling.*field = named.TakeFloat(name);
  }
  for (const auto& [name, field] :
       {std::pair{"top_k", &Sampling::top_k}, {"top_logprobs", &Sampling::top_logprobs}}) {
    if (named.Has(name)) sampling.*field = named.TakeInt32(name);
  }
  if (named.Has("seed")) {
    sampling.seed = static_cast<std::uint64_t>(named.TakeInt("seed", INT64_MIN, INT64_MAX));
  }
  if (named.Has("logit_bias_tokens") || named.Has("logit_bias_values")) {
    const ffi::Tensor values = named.TakeTensor("logit_bias_values");
    const auto tokens = Tokens("logit_bias_tokens", named.TakeTensor("logit_bias_tokens"));
    const auto count = static_cast<std::int64_t>(tokens.size());
    const auto biases =
        ViewTensor<const float>({"logit_bias_values", dtype::kFloat32, {count}}, values);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      sampling.logit_bias.emplace_back(tokens[i], biases[i]);
    }
  }
  return sampling;
}

/// (engine, prompt, *pairs) -> id. The names are the fields of Request and Sampling.
std::int64_t Submit(ffi::PackedArgs args) {
  return Translate([&] {
    const auto engine = GetArgument<EngineRef>(args, 0, "engine");
    Request request;
    request.prompt = Tokens("prompt", GetArgument<ffi::Tensor>(args, 1, "prompt"));
    NamedArguments named(args, 2);
    request.max_tokens = named.TakeInt32("max_tokens");
    if (named.Has("stop_tokens")) {
      request.stop_tokens = Tokens("stop_tokens", named.TakeTensor("stop_tokens"));
    }
    request.sampling = TakeSampling(named);
    named.CheckAllTaken();
    return engine->engine.Submit(std::move(request));
  });
}

void Cancel(const EngineRef& engine, std::int64_t request) {
  Translate([&] { engine->engine.Cancel(request); });
}

const char* Name(Finish finish) {
  switch (finish) {
    case Finish::kNone:
      return "";
    case Finish::kStop:
      return "stop";
    case Finish::kLength:
      return "length";
    case Finish::kCancelled:
      return "cancelled";
    case Finish::kError:
      break;
  }
  return "error";
}

/// Calls `sink(request, token, finish, logprob, reused, top_tokens, top_logprobs)` for each event;
/// the last two are None unless they were asked for. Returns whether there is more to do.
bool Step(const EngineRef& engine, const ffi::Function& sink) {
  return Translate([&] {
    return engine->engine.Step([&](const Event& event) {
      ffi::Optional<ffi::Tensor> tokens, logprobs;
      if (!event.top_logprobs.empty()) {
        std::vector<std::int32_t> top_tokens;
        std::vector<float> top_logprobs;
        for (const auto& [token, logprob] : event.top_logprobs) {
          top_tokens.push_back(token);
          top_logprobs.push_back(logprob);
        }
        tokens = MakeTensor(dtype::kInt32, std::move(top_tokens));
        logprobs = MakeTensor(dtype::kFloat32, std::move(top_logprobs));
      }
      sink(event.request, event.token, ffi::String(Name(event.finish)), event.logprob, event.reused,
           tokens, logprobs);
    });
  });
}

[[maybe_unused]] const bool registered = [] {
  ffi::reflection::GlobalDef()
      .def("mlc_llm.engine_create", CreateEngine)
      .def_packed("mlc_llm.engine_submit",
                  [](ffi::PackedArgs args, ffi::Any* result) { *result = Submit(args); })
      .def("mlc_llm.engine_cancel", Cancel)
      .def("mlc_llm.engine_step", Step);
  return true;
}();

}  // namespace
}  // namespace mlc
