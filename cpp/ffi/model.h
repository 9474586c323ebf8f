#pragma once

#include <memory>

#include "ffi/translate.h"
#include "model/transformer.h"

namespace mlc {

/// A model, as Python holds it. The pointer also keeps the tensors of the weights alive.
class ModelObject final : public ffi::Object {
 public:
  explicit ModelObject(std::shared_ptr<Transformer> model) : transformer(std::move(model)) {}

  const std::shared_ptr<Transformer> transformer;

  static constexpr bool _type_mutable = true;
  TVM_FFI_DECLARE_OBJECT_INFO_FINAL("mlc_llm.Model", ModelObject, ffi::Object);
};

class ModelRef final : public ffi::ObjectRef {
 public:
  explicit ModelRef(ffi::ObjectPtr<ModelObject> object) : ObjectRef(std::move(object)) {}
  TVM_FFI_DEFINE_OBJECT_REF_METHODS_NOTNULLABLE(ModelRef, ffi::ObjectRef, ModelObject);
};

}  // namespace mlc
