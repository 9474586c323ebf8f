"""Model families: their configurations, rotary embeddings and parameters."""

from mlc_llm.models.config import ModelConfig
from mlc_llm.models.errors import FormatError
from mlc_llm.models.families import FAMILIES
from mlc_llm.models.parameters import Parameter, Part, Source, list_parameters
from mlc_llm.models.parse import parse_fields
from mlc_llm.models.rope import Rope
from mlc_llm.models.spellings import from_hf, from_mlc

__all__ = [
    "FAMILIES",
    "FormatError",
    "ModelConfig",
    "Parameter",
    "Part",
    "Rope",
    "Source",
    "from_hf",
    "from_mlc",
    "list_parameters",
    "parse_fields",
]
