from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlc_llm.models import FormatError
from mlc_llm.weights.shard_writer import ShardWriter
from mlc_llm.weights.tensor_cache import INDEX_NAMES, map_tensors, read_index

_DATA = bytes(range(64))


def _record(**changes: Any) -> dict[str, Any]:
    record = {"name": "a", "shape": [2, 4], "dtype": "uint32", "format": "raw"}
    return {**record, "nbytes": 32, "byteOffset": 0, **changes}


def _shard(*records: Any, **changes: Any) -> dict[str, Any]:
    shard = {"dataPath": "params_shard_0.bin", "format": "raw-shard", "nbytes": 64}
    return {**shard, "records": list(records), **changes}


def _write(directory: Path, *shards: Any, name: str = INDEX_NAMES[0]) -> Path:
    (directory / "params_shard_0.bin").write_bytes(_DATA)
    (directory / name).write_text(json.dumps({"records": shards}), encoding="utf-8")
    return directory


def _map(directory: Path) -> dict[str, Any]:
    return dict(map_tensors(read_index(directory)))


@pytest.mark.parametrize("name", INDEX_NAMES)
def test_tensors_are_mapped_in_place(tmp_path: Path, name: str) -> None:
    half = _record(name="b", shape=[3], dtype="float16", nbytes=6, byteOffset=34)
    tensors = _map(_write(tmp_path, _shard(half, _record()), name=name))
    assert tensors["a"].tolist() == np.frombuffer(_DATA, "<u4", 8).reshape(2, 4).tolist()
    assert tensors["b"].tobytes() == _DATA[34:40]
    assert not tensors["a"].flags.owndata
    assert tensors["a"].flags.writeable  # copied on write: the file stays
    tensors["a"][0, 0] = 7
    assert (tmp_path / "params_shard_0.bin").read_bytes() == _DATA


def test_the_newer_index_wins(tmp_path: Path) -> None:
    _write(tmp_path, _shard(_record(name="old")), name=INDEX_NAMES[1])
    assert list(_map(_write(tmp_path, _shard(_record(name="new"))))) == ["new"]


def test_bfloat16_is_decoded(tmp_path: Path) -> None:
    record = _record(shape=[2], dtype="float32", format="f32-to-bf16", nbytes=4)
    _write(tmp_path, _shard(record))
    (tmp_path / "params_shard_0.bin").write_bytes(bytes([0x80, 0x3F, 0, 0xC0]) + _DATA[:60])
    tensor = _map(tmp_path)["a"]
    assert tensor.dtype == np.float32
    assert tensor.tolist() == [1, -2]


def test_what_is_not_aligned_is_copied(tmp_path: Path) -> None:
    tensor = _map(_write(tmp_path, _shard(_record(byteOffset=2))))["a"]
    assert tensor.flags.aligned
    assert tensor.tobytes() == _DATA[2:34]


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        (_shard(_record(byteOffset=40)), "beyond its size"),
        (_shard(_record(byteOffset=-8)), "do not fit each other"),
        (_shard(_record(byteOffset=2**63)), "do not fit each other"),
        (_shard(_record(nbytes=31)), "do not fit each other"),
        (_shard(_record(nbytes="32")), "do not fit each other"),
        (_shard(_record(shape=[2, 2**61])), "do not fit each other"),
        (_shard(_record(shape=[2**62])), "impossible shape"),
        (_shard(_record(shape=[0])), "impossible shape"),
        (_shard(_record(shape=[-2, -4])), "impossible shape"),
        (_shard(_record(shape=[True])), "impossible shape"),
        (_shard(_record(shape=[])), "impossible shape"),
        (_shard(_record(shape=None)), "impossible shape"),
        (_shard(_record(dtype="int4")), "has the dtype int4; known: float32"),
        (_shard(_record(dtype=["uint32"])), "has the dtype"),
        (_shard(_record(format="zip")), "unknown format 'zip'"),
        (_shard(_record(format="f32-to-bf16")), "unknown format"),
        (_shard(_record(name=3)), "record without a name"),
        (_shard(3), "record without a name"),
        (_shard(_record(), _record(name="b", byteOffset=16)), "'b' overlaps"),
        (_shard(_record(), _record(byteOffset=32)), "lists 'a' twice"),
        (_shard(records=None), "shard without records"),
        (_shard(format="gzip"), "shard of format 'gzip'"),
        (_shard(nbytes=63), "has 64 bytes, but tensor-cache.json says 63"),
        (_shard(nbytes=128), "truncated"),
        (_shard(dataPath="../x"), "is not inside"),
        (_shard(dataPath="/etc/passwd"), "is not inside"),
        (_shard(dataPath=["a"]), "is not a name"),
        (_shard(dataPath="missing.bin"), "cannot be read"),
        (_shard(dataPath="\ud800"), "which cannot be"),
        (_shard(dataPath="a" * 1025), "is not a name"),
        (_shard(dataPath="."), "must be a regular file"),
        ([], "shard without records"),
    ],
)
def test_malformed_indexes_are_refused(tmp_path: Path, shard: Any, message: str) -> None:
    _write(tmp_path, shard)
    with pytest.raises(FormatError, match=message):
        read_index(tmp_path)


def test_a_file_listed_twice_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, _shard(_record()), _shard(_record(name="b")))
    with pytest.raises(FormatError, match="twice"):
        read_index(tmp_path)


def test_a_directory_without_index_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="its conversion was not finished"):
        read_index(tmp_path)


@pytest.mark.parametrize("content", ["{}", '{"records": 3}', "[]"])
def test_an_index_needs_records(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEX_NAMES[0]).write_text(content, encoding="utf-8")
    with pytest.raises(FormatError, match=r"no list of records|must hold"):
        read_index(tmp_path)


def test_links_may_not_lead_out(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    (tmp_path / "secret").write_bytes(_DATA)
    _write(directory, _shard(_record(), dataPath="link.bin"))
    (directory / "link.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError, match="leads out of the model directory"):
        read_index(directory)


@pytest.mark.parametrize("name", INDEX_NAMES)
def test_an_index_elsewhere_is_not_read(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    _write(tmp_path, _shard(_record()), name=name)
    (directory / name).symlink_to(tmp_path / name)
    with pytest.raises(FormatError, match="leads out of the model directory"):
        read_index(directory)


def test_links_of_the_hub_lead_to_its_store(tmp_path: Path) -> None:
    directory, blobs = tmp_path / "snapshots" / "revision", tmp_path / "blobs"
    directory.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "0123").write_bytes(_DATA)
    _write(directory, _shard(_record()))
    (directory / "params_shard_0.bin").unlink()
    (directory / "params_shard_0.bin").symlink_to("../../blobs/0123")
    assert list(_map(directory)) == ["a"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    _write(tmp_path, _shard(_record()))
    (tmp_path / "params_shard_0.bin").unlink()
    os.mkfifo(tmp_path / "params_shard_0.bin")
    with pytest.raises(FormatError, match="must be a regular file"):
        read_index(tmp_path)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tensors: dict[str, NDArray[Any]] = {
        "small": np.arange(5, dtype=np.float16),
        "words": np.arange(12, dtype=np.uint32).reshape(3, 4),
        "large": np.full((8 << 20,), 3, np.float32),  # 32 MiB: a file of its own
        "last": np.ones(7, np.float32),
    }
    writer = ShardWriter(tmp_path)
    for name, values in tensors.items():
        writer.add(name, values)
    writer.finish(100)
    index = json.loads((tmp_path / INDEX_NAMES[0]).read_text(encoding="utf-8"))
    stored = [[record["name"] for record in shard["records"]] for shard in index["records"]]
    assert sorted(map(sorted, stored)) == [["large"], ["last", "small", "words"]]
    for shard in index["records"]:
        data = (tmp_path / shard["dataPath"]).read_bytes()
        assert len(data) == shard["nbytes"]
        assert hashlib.md5(data, usedforsecurity=False).hexdigest() == shard["md5sum"]
    total = sum(values.nbytes for values in tensors.values())
    assert index["metadata"] == {
        "ParamSize": 4,
        "ParamBytes": float(total),
        "BitsPerParam": total * 8 / 100,
    }
    found = _map(tmp_path)
    for name, values in tensors.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


def test_files_are_closed_at_32_mib(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path)
    for number in range(5):
        writer.add(f"{number}", np.zeros(3 << 20, np.float32))  # 12 MiB
    writer.finish(1)
    sizes = [shard.nbytes >> 20 for shard in read_index(tmp_path)]
    assert sizes == [24, 24, 12]
