from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import EOS, write_tokenizer
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers

from mlc_llm.tokenizer import TextStream, Tokenizer


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    directory = tmp_path_factory.mktemp("byte-level")
    write_tokenizer(directory)
    return Tokenizer(directory)


@pytest.fixture
def sentence_piece(tmp_path: Path) -> Tokenizer:
    """As Llama 2 has it: a sign for spaces, bytes for what is not in the vocabulary."""
    words = ["▁upon", "▁a", "▁time", "▁", "<0xGG>"]
    vocabulary = {"<unk>": 0} | {f"<0x{byte:02X}>": 1 + byte for byte in range(256)}
    vocabulary |= {word: len(vocabulary) + i for i, word in enumerate(words)}
    library = Library(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))  # noqa: S106
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    library.save(str(tmp_path / "tokenizer.json"))
    return Tokenizer(tmp_path)


def stream(tokenizer: Tokenizer, ids: list[int], prompt: list[int] | None = None) -> list[str]:
    pieces = TextStream(tokenizer, prompt or [])
    return [*map(pieces.push, ids), pieces.flush()]


@given(data=st.binary(max_size=24))
def test_stream_of_any_bytes_is_their_text(byte_level: Tokenizer, data: bytes) -> None:
    assert "".join(stream(byte_level, list(data))) == data.decode(errors="replace")


@given(text=st.text(max_size=12), prompt=st.text(max_size=12))
def test_stream_gives_whole_characters_only(byte_level: Tokenizer, text: str, prompt: str) -> None:
    pieces = stream(byte_level, list(text.encode()), list(prompt.encode()))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces) or "\ufffd" in text


def load_with(directory: Path, setting: dict[str, Any]) -> Tokenizer:
    write_tokenizer(directory)
    file = directory / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | setting))
    return Tokenizer(directory)


def test_continuation_keeps_its_leading_space(sentence_piece: Tokenizer) -> None:
    prompt, answer = [257, 258], [259, 258]
    assert "".join(stream(sentence_piece, answer, prompt)) == " time a"
    assert "".join(stream(sentence_piece, answer)) == "time a"


def test_character_of_byte_tokens_comes_whole(sentence_piece: Tokenizer) -> None:
    ids = [1 + byte for byte in "é😀".encode()]
    assert stream(sentence_piece, [257, *ids, 258]) == [
        *("upon", "", "é", "", "", "", "😀", " a"),
        "",
    ]


def test_bytes_of_tokens(byte_level: Tokenizer, sentence_piece: Tokenizer) -> None:
    assert [byte_level.token_bytes(byte) for byte in range(256)] == [
        bytes([byte]) for byte in range(256)
    ]
    assert byte_level.token_bytes(EOS) == b"</s>"
    assert byte_level.token_bytes(9999) == b""
    assert sentence_piece.token_bytes(1 + 0xE9) == b"\xe9"
    assert sentence_piece.token_bytes(257) == b" upon"
    assert sentence_piece.token_bytes(261) == b"<0xGG>"


@pytest.mark.parametrize(
    "setting",
    [
        {"truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0}},
        {
            "padding": {
                "strategy": {"Fixed": 9},
                "direction": "Right",
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "a",
            }
        },
    ],
)
def test_text_is_neither_truncated_nor_padded(tmp_path: Path, setting: dict[str, Any]) -> None:
    assert load_with(tmp_path, setting).encode("abc") == [97, 98, 99]


@pytest.mark.parametrize(
    ("setting", "use"),
    [
        (
            {
                "post_processor": {
                    "type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "", "type_id": 0}}],
                    "pair": [{"Sequence": {"id": "B", "type_id": 0}}],
                    "special_tokens": {},
                }
            },
            lambda tokenizer: tokenizer.encode("a"),
        ),
        (
            {"decoder": {"type": "Strip", "content": "a", "start": 0, "stop": 2}},
            lambda tokenizer: tokenizer.decode([97]),
        ),
    ],
)
def test_panic_of_the_library_is_an_error(
    tmp_path: Path, setting: dict[str, Any], use: Callable[[Tokenizer], object]
) -> None:
    tokenizer = load_with(tmp_path, setting)
    with pytest.raises(ValueError, match="The model's tokenizer fails at th"):
        use(tokenizer)


def test_special_tokens_are_left_out_of_the_text(byte_level: Tokenizer) -> None:
    assert byte_level.encode("a</s>b") == [97, EOS, 98]
    assert byte_level.decode([97, EOS, 98]) == "ab"


def test_stop_tokens_come_from_every_file(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    config = {"eos_token_id": 7, "conv_template": {"stop_token_ids": [8, "x", -1, None]}}
    (tmp_path / "mlc-chat-config.json").write_text(json.dumps(config))
    assert Tokenizer(tmp_path).stop_tokens == (7, 8, 9, EOS)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", "{}", "is no tokenizer"),
        ("tokenizer.json", "nothing", "is no tokenizer"),
        ("tokenizer_config.json", "[]", "must hold a JSON object"),
        ("tokenizer_config.json", "{", "is not usable JSON"),
        ("tokenizer_config.json", '{"a": 1, "a": 2}', "is not usable JSON: an object has the same"),
        ("tokenizer_config.json", "[" * 200_000, "is not usable JSON: it is nested too deeply"),
        ("generation_config.json", b"\xff", "is not usable JSON"),
    ],
)
def test_damaged_file_is_named(
    tmp_path: Path, file: str, content: str | bytes, message: str
) -> None:
    write_tokenizer(tmp_path)
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / file).write_bytes(data)
    with pytest.raises(ValueError, match=rf"{file} {message}"):
        Tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "most", "message"),
    [
        ("tokenizer_config.json", 16 << 20, f"has {(16 << 20) + 1} bytes, more than"),
        ("tokenizer.json", 256 << 20, "is larger than any tokenizer"),
    ],
)
def test_giant_file_is_refused(tmp_path: Path, name: str, most: int, message: str) -> None:
    write_tokenizer(tmp_path)
    with (tmp_path / name).open("wb") as file:
        file.truncate(most + 1)
    with pytest.raises(ValueError, match=f"{name} {message}"):
        Tokenizer(tmp_path)


def test_missing_tokenizer_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no tokenizer\.json in .*gen_config"):
        Tokenizer(tmp_path)


def test_special_tokens_may_be_objects(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert Tokenizer(tmp_path).special == {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_links_may_not_lead_out_of_the_model(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    write_tokenizer(directory)
    (tmp_path / "secret").write_text((directory / name).read_text())
    (directory / name).unlink()
    (directory / name).symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="leads out of the model directory"):
        Tokenizer(directory)
