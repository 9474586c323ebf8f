"""Weights on disk: reading, converting and writing them."""

from mlc_llm.models.errors import FormatError
from mlc_llm.weights.chat_config import gen_config
from mlc_llm.weights.convert import Conversion, convert_weight
from mlc_llm.weights.load import LoadedModel, load_model_dir

__all__ = [
    "Conversion",
    "FormatError",
    "LoadedModel",
    "convert_weight",
    "gen_config",
    "load_model_dir",
]
