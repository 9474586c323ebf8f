// A libFuzzer harness for what Python hands to the library: an input is a series of calls with
// arguments that are right, wrong, or of the wrong type. Each call succeeds or throws an FFI error.

#include <tvm/ffi/tvm_ffi.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace {

namespace ffi = tvm::ffi;

constexpr DLDataType kInt32 = {kDLInt, 32, 1};
constexpr DLDataType kFloat16 = {kDLFloat, 16, 1};
constexpr DLDataType kFloat32 = {kDLFloat, 32, 1};
constexpr DLDataType kUInt32 = {kDLUInt, 32, 1};

constexpr std::int32_t kHidden = 32, kVocab = 40;

struct Memory {
  std::vector<char> bytes;
  void AllocData(DLTensor* tensor) {
    bytes.resize(ffi::GetDataSize(*tensor));  // no more: the sanitizer sees a read past the end
    tensor->data = bytes.data();
  }
  void FreeData(DLTensor*) {}
};

ffi::Tensor MakeTensor(DLDataType dtype, std::vector<std::int64_t> shape) {
  return ffi::Tensor::FromNDAlloc(Memory{}, ffi::Shape(shape), dtype, DLDevice{kDLCPU, 0});
}

template <typename T>
ffi::Tensor MakeVector(DLDataType dtype, const std::vector<T>& values) {
  ffi::Tensor tensor = MakeTensor(dtype, {static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), static_cast<T*>(tensor.data_ptr()));
  return tensor;
}

/// The bytes of one input, as choices; zeros after its end.
class Choices {
 public:
  explicit Choices(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  bool empty() const { return bytes_.empty(); }

  std::uint8_t Byte() {
    if (bytes_.empty()) return 0;
    const std::uint8_t byte = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return byte;
  }

  std::int32_t Below(std::int32_t end) { return Byte() % end; }

  /// Mostly small, at times at an edge.
  std::int32_t Int() {
    constexpr std::array kEdges = {-1, INT32_MIN, INT32_MAX, 31, 32, 33, 1 << 20, kVocab};
    const std::uint8_t byte = Byte();
    return byte < 224 ? byte % 48 : kEdges[byte % kEdges.size()];
  }

  float Float() {
    constexpr std::array kEdges = {0.0f, 1.0f, -1.0f, 0.5f, 2.0f, 1e-30f, 1e30f, -1e30f};
    const std::uint8_t byte = Byte();
    if (byte == 255) return __builtin_nanf("");
    if (byte == 254) return __builtin_inff();
    return kEdges[byte % kEdges.size()];
  }

  ffi::Tensor Ints(std::int32_t most) {
    std::vector<std::int32_t> values(static_cast<std::size_t>(Below(most + 1)));
    for (std::int32_t& value : values) value = Int();
    return MakeVector(kInt32, values);
  }

  /// A tensor of any type and shape.
  ffi::Tensor AnyTensor() {
    constexpr std::array kTypes = {kInt32, kFloat16, kFloat32, kUInt32};
    std::vector<std::int64_t> shape(static_cast<std::size_t>(Below(4)));
    for (std::int64_t& extent : shape) extent = Below(70);
    return MakeTensor(kTypes[static_cast<std::size_t>(Below(4))], shape);
  }

  ffi::Any Anything() {
    switch (Below(6)) {
      case 0:
        return nullptr;
      case 1:
        return ffi::String("silu");
      case 2:
        return Float();
      case 3:
        return Int();
      default:
        return AnyTensor();
    }
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

ffi::Function Get(const std::string& name) {
  return ffi::Function::GetGlobalRequired("mlc_llm." + name);
}

ffi::Any Call(const std::string& name, const std::vector<ffi::Any>& arguments) {
  const std::vector<ffi::AnyView> views(arguments.begin(), arguments.end());
  ffi::Any result;
  Get(name).CallPacked(views.data(), static_cast<std::int32_t>(views.size()), &result);
  return result;
}

using Named = std::map<std::string, ffi::Any>;

/// The arguments of a model with a quantized and a float16 matrix.
Named ModelArguments() {
  Named named;
  for (const auto& [name, value] : std::map<std::string, std::int64_t>{{"hidden", kHidden},
                                                                       {"intermediate", 32},
                                                                       {"layers", 1},
                                                                       {"heads", 2},
                                                                       {"kv_heads", 1},
                                                                       {"head_dim", 16},
                                                                       {"vocab", kVocab},
                                                                       {"rotary_dim", 8},
                                                                       {"half_cache", 1}}) {
    named[name] = value;
  }
  for (const char* name : {"norm_epsilon", "embed_scale", "attention_scale", "rotary_scale"}) {
    named[name] = 0.5;
  }
  named["attention_softcap"] = named["logit_softcap"] = 0.0;
  named["activation"] = ffi::String("silu");
  named["windows"] = MakeVector<std::int32_t>(kInt32, {4});
  named["rotary_tables"] = MakeVector<std::int32_t>(kInt32, {0});
  named["inverse_frequencies"] = MakeTensor(kFloat32, {1, 4});
  named["weight:embed"] = MakeTensor(kFloat32, {kVocab, kHidden});
  named["weight:layers.0.qkv"] = MakeTensor(kUInt32, {64, 4});
  named["scale:layers.0.qkv"] = MakeTensor(kFloat16, {64, 1});
  named["weight:layers.0.attention_out"] = MakeTensor(kFloat16, {kHidden, 32});
  named["weight:layers.0.gate_up"] = MakeTensor(kFloat16, {64, kHidden});
  named["weight:layers.0.down"] = MakeTensor(kFloat32, {kHidden, 32});
  for (const char* name : {"norm", "layers.0.attention_norm", "layers.0.mlp_norm"}) {
    named[std::string("weight:") + name] = MakeTensor(kFloat32, {kHidden});
  }
  return named;
}

std::vector<ffi::Any> Flatten(std::vector<ffi::Any> arguments, const Named& named) {
  for (const auto& [name, value] : named) {
    arguments.emplace_back(ffi::String(name));
    arguments.push_back(value);
  }
  return arguments;
}

ffi::Any MakeModel() {
  return Call("model_create", Flatten({ffi::String("cpu"), 16}, ModelArguments()));
}

void CreateModel(Choices& choices) {
  Named named = ModelArguments();
  for (int i = choices.Below(3); i >= 0; --i) {
    const auto place = std::next(named.begin(), choices.Below(static_cast<int>(named.size())));
    if (choices.Below(8) == 0) {
      named.erase(place);
    } else {
      place->second = choices.Anything();
    }
  }
  std::vector<ffi::Any> arguments = Flatten({ffi::String("cpu"), choices.Int()}, named);
  if (choices.Below(8) == 0) arguments.resize(static_cast<std::size_t>(choices.Below(60)));
  Call("model_create", arguments);
}

/// A batch that may be right: each sequence has the pages that it needs.
void Forward(const ffi::Any& model, Choices& choices) {
  const ffi::Any cache = Call("cache_create", {model, choices.Below(8) - 1});
  std::vector<std::int32_t> table;
  std::vector<std::int32_t> pages;
  std::int32_t rows = 0;
  for (int i = choices.Below(4); i > 0; --i) {
    const bool wild = choices.Below(8) == 0;
    const std::int32_t count = wild ? choices.Int() : 1 + choices.Below(5);
    table.insert(table.end(), {count, wild ? choices.Int() : choices.Below(60),
                               static_cast<std::int32_t>(pages.size())});
    for (int page = 0; page < 2; ++page) pages.push_back(wild ? choices.Int() : choices.Below(6));
    if (!wild) rows += count;
  }
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(rows + choices.Below(8) / 7));
  for (std::int32_t& token : tokens) token = choices.Int();
  ffi::Tensor sequences = MakeTensor(kInt32, {static_cast<std::int64_t>(table.size() / 3), 3});
  std::copy(table.begin(), table.end(), static_cast<std::int32_t*>(sequences.data_ptr()));
  const ffi::Tensor logit_rows = choices.Ints(4);
  std::vector<ffi::Any> arguments = {model,
                                     cache,
                                     MakeVector(kInt32, tokens),
                                     sequences,
                                     MakeVector(kInt32, pages),
                                     logit_rows,
                                     MakeTensor(kFloat32, {logit_rows.size(0), kVocab})};
  if (choices.Below(8) == 0) {
    arguments[static_cast<std::size_t>(choices.Below(7))] = choices.Anything();
  }
  Call("model_forward", arguments);
}

void Submit(const ffi::Any& engine, Choices& choices) {
  constexpr std::array kFloats = {
      "temperature",      "top_p", "min_p", "repetition_penalty", "presence_penalty",
      "frequency_penalty"};
  Named named = {{"max_tokens", 1 + choices.Below(40)}, {"seed", choices.Int()}};
  if (choices.Below(2) == 0) named[kFloats[choices.Byte() % kFloats.size()]] = choices.Float();
  if (choices.Below(3) == 0) named["top_k"] = choices.Int();
  if (choices.Below(3) == 0) named["top_logprobs"] = choices.Int();
  if (choices.Below(3) == 0) named["stop_tokens"] = choices.Ints(3);
  if (choices.Below(3) == 0) {
    named["logit_bias_tokens"] = choices.Ints(3);
    named["logit_bias_values"] = MakeTensor(kFloat32, {choices.Below(4)});
  }
  if (choices.Below(8) == 0) named["min_p"] = choices.Anything();
  Call("engine_submit", Flatten({engine, choices.Ints(70)}, named));
}

void Step(const ffi::Any& engine) {
  const auto sink = ffi::Function::FromPacked([](ffi::PackedArgs args, ffi::Any*) {
    const auto token = args[1].cast<std::int32_t>();
    if (args.size() != 7 || token < -1 || token >= kVocab) std::abort();
  });
  Call("engine_step", {engine, sink});
}

void CallOne(const ffi::Any& model, ffi::Any& engine, Choices& choices) {
  switch (choices.Below(8)) {
    case 0:
      return CreateModel(choices);
    case 1:
      return Forward(model, choices);
    case 2:
      engine = Call("engine_create",
                    {model, choices.Below(12) - 1, choices.Below(20) - 1, choices.Below(200) - 1});
      return;
    case 3:
      Call("engine_cancel", {engine, choices.Int()});
      return;
    case 4:
    case 5:
      return Submit(engine, choices);
    default:
      return Step(engine);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ffi::Any model = MakeModel();
  Choices choices({data, size});
  ffi::Any engine = Call("engine_create", {model, 8, 4, 150});
  for (int calls = 0; calls < 40 && !choices.empty(); ++calls) {
    try {
      CallOne(model, engine, choices);
    } catch (const ffi::Error&) {
    }
  }
  return 0;
}
