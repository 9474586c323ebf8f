"""Coverage-guided fuzzing of the parsers, with atheris (libFuzzer for Python).

    nox -s sanitize                    runs every target for some seconds
    python tests/fuzz/fuzz_parsers.py TARGET [tests/fuzz/corpus/TARGET] [-max_total_time=60]

TARGET is a name in _TARGETS. A parser may return or raise FormatError (ValueError for a tokenizer);
anything else is a finding, which libFuzzer writes to a file. The package need not be installed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

with atheris.instrument_imports(include=["mlc_llm", "json"]):
    from mlc_llm.models import FormatError, from_hf, from_mlc, list_parameters, parse_fields
    from mlc_llm.models.json_file import parse_json_object
    from mlc_llm.tokenizer import Tokenizer
    from mlc_llm.weights.safetensors import read_safetensors
    from mlc_llm.weights.tensor_cache import map_tensors, read_index

_DIRECTORY = Path(tempfile.mkdtemp(prefix="mlc_llm-fuzz-"))
_MANY_LAYERS = 64  # parsing more is the same, and slow


def _fuzz_safetensors(data: bytes) -> None:
    path = _DIRECTORY / "a.safetensors"
    path.write_bytes(data)
    for tensor in read_safetensors(path).values():
        if tensor.shape:
            tensor.read_rows(0, tensor.shape[0])


def _fuzz_tensor_cache(data: bytes) -> None:
    (_DIRECTORY / "a.bin").write_bytes(bytes(256))
    (_DIRECTORY / "tensor-cache.json").write_bytes(data)
    for _, values in map_tensors(read_index(_DIRECTORY)):
        values.tobytes()


def _fuzz_config(data: bytes) -> None:
    config = parse_fields(from_hf(parse_json_object(data, "config.json")))
    if config.layers <= _MANY_LAYERS:
        config.to_native()
        list(list_parameters(config))


def _fuzz_chat_config(data: bytes) -> None:
    parse_fields(from_mlc(parse_json_object(data, "mlc-chat-config.json"))).to_native()


def _fuzz_tokenizer(data: bytes) -> None:
    (_DIRECTORY / "tokenizer.json").write_bytes(data)
    (_DIRECTORY / "tokenizer_config.json").write_bytes(b"{}")
    tokenizer = Tokenizer(_DIRECTORY)
    tokenizer.decode(tokenizer.encode("Hello, wörld"))


_TARGETS = {
    "safetensors": (_fuzz_safetensors, FormatError),
    "tensor_cache": (_fuzz_tensor_cache, FormatError),
    "config": (_fuzz_config, FormatError),
    "chat_config": (_fuzz_chat_config, FormatError),
    "tokenizer": (_fuzz_tokenizer, ValueError),
}


def main() -> None:
    """Fuzz the target that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] not in _TARGETS:
        raise SystemExit(f"usage: fuzz_parsers.py {'|'.join(_TARGETS)} [CORPUS] [-OPTION=VALUE]")
    parse, refusal = _TARGETS[sys.argv.pop(1)]

    def test_one_input(data: bytes) -> None:
        try:
            parse(data)
        except refusal:
            return

    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
