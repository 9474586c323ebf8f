from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
import tvm_ffi

from mlc_llm import Device, Q4F16Linear, quantize_q4f16_1
from mlc_llm.linear import _as_readable
from mlc_llm.selftest import measure_error, random_layer

OLD_NUMPY = np.lib.NumpyVersion(np.__version__) < "2.1.0"
IN_FEATURES = [1, 7, 8, 31, 32, 33, 64, 95, 128, 129, 255, 4096]


@pytest.fixture(params=["portable", "avx2", "avx_vnni", "avx512", "neon", "neon_dotprod"])
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, cpu: Device) -> str:
    """Each instruction set that this processor has, forced."""
    name: str = request.param
    if name not in cpu.features:
        pytest.skip(f"this processor has no {name}")
    monkeypatch.setenv("MLC_LLM_CPU_ISA", name)
    return name


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("in_features", IN_FEATURES)
@pytest.mark.parametrize("rows", [1, 3, 17, 1000])
def test_product_is_that_of_numpy(rows: int, in_features: int) -> None:
    words, scales, x = random_layer(rows, in_features)
    out = Q4F16Linear(words, scales, in_features=in_features)(x)
    assert out.dtype == np.float16
    assert measure_error(words, scales, x, out, device="cpu") <= 1


@pytest.mark.usefixtures("isa")
def test_every_nibble_and_position_counts() -> None:
    # Rows are the 16 nibbles everywhere; inputs are the unit vectors.
    words = (np.arange(16, dtype=np.uint32) * 0x11111111)[:, None].repeat(4, axis=1)
    linear = Q4F16Linear(words, np.ones((16, 1), np.float16))
    for x in np.eye(32, dtype=np.float16):
        assert linear(x).tolist() == list(range(-7, 9))


def test_measure_error_sees_one_wrong_value() -> None:
    words, scales, x = random_layer(17, 64)
    out = Q4F16Linear(words, scales)(x)
    out[16] += np.float16(0.25)
    assert measure_error(words, scales, x, out, device="cpu") > 1


def test_rows_do_not_depend_on_the_number_of_threads() -> None:
    code = (
        "from mlc_llm.selftest import *;"
        "w, s, x = random_layer(2000, 512);"
        "print(hash(Q4F16Linear(w, s)(x).tobytes()))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ
            | {
                "MLC_LLM_NUM_THREADS": threads,
                "PYTHONHASHSEED": "0",
                "PYTHONPATH": ":".join(sys.path),
            },
            capture_output=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "5")
    }
    assert len(outputs) == 1


def test_numpy_passes_without_a_copy() -> None:
    array = np.arange(4, dtype=np.float16)
    seen = np.from_dlpack(tvm_ffi.from_dlpack(array))
    assert seen.ctypes.data == array.ctypes.data


def test_the_weight_is_read_in_place() -> None:
    words, scales = quantize_q4f16_1(np.ones((3, 32), np.float32))
    linear = Q4F16Linear(words, scales)
    x = np.ones(32, np.float16)
    before = linear(x)
    scales *= 2
    assert linear(x).tolist() == (2 * before).tolist()


def test_out_is_written_in_place_and_returned() -> None:
    words, scales, x = random_layer(3, 32)
    linear = Q4F16Linear(words, scales)
    out = np.zeros(3, np.float16)
    assert linear(x, out) is out
    assert out.tolist() == linear(x).tolist()


def test_the_layer_keeps_its_weight_alive() -> None:
    linear = Q4F16Linear(*quantize_q4f16_1(np.ones((500, 3200), np.float32)))
    np.full((500, 400), 0xFFFFFFFF, np.uint32)  # would reuse freed memory
    assert np.allclose(linear(np.ones(3200, np.float16)), 3200, rtol=1e-3)


def test_torch_results_are_those_of_numpy() -> None:
    torch = pytest.importorskip("torch")
    words, scales, x = random_layer(17, 64)
    expected = Q4F16Linear(words, scales)(x)
    out = torch.zeros(17, dtype=torch.float16)
    linear = Q4F16Linear(torch.tensor(words), torch.tensor(scales))
    assert linear(torch.tensor(x), out) is out
    assert out.numpy().tolist() == expected.tolist()


def test_a_torch_weight_is_read_in_place() -> None:
    torch = pytest.importorskip("torch")
    words, scales, x = random_layer(17, 64)
    tensors = torch.tensor(words), torch.tensor(scales)
    linear = Q4F16Linear(*tensors)
    before = linear(x).tolist()
    for array, tensor in zip((words[::-1].copy(), scales[::-1].copy()), tensors, strict=True):
        tensor.copy_(torch.tensor(array))
        assert linear(x).tolist() != before
    assert linear(x).tolist() == before[::-1]


def test_a_torch_input_is_passed_without_a_copy() -> None:
    torch = pytest.importorskip("torch")
    # What a registered function receives for x, by the conversion that every argument meets.
    address = tvm_ffi.convert(lambda tensor: np.from_dlpack(tensor).ctypes.data)
    x = torch.ones(64, dtype=torch.float16)
    assert address(_as_readable(x)) == x.data_ptr()


def test_other_python_threads_run_meanwhile() -> None:
    words, scales, x = random_layer(512, 8192)
    linear = Q4F16Linear(words, scales)
    stop = False
    stopped = False

    def call_until_stopped() -> None:
        nonlocal stopped
        for _ in range(10_000):
            if stop:
                stopped = True
                break
            linear(x)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(3600)  # so that a thread runs on until it releases the GIL by itself
    try:
        thread = threading.Thread(target=call_until_stopped)
        thread.start()
        stop = True  # this thread's turn comes before the calls end only if one releases the GIL
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert stopped


def read_only_layer() -> tuple[Any, Any, Any]:
    layer = random_layer(3, 32)
    for array in layer:
        array.flags.writeable = False
    return layer


@pytest.mark.skipif(OLD_NUMPY, reason="needs NumPy 2.1")
def test_read_only_arrays_are_read_in_place() -> None:
    words, scales, x = read_only_layer()
    assert measure_error(words, scales, x, Q4F16Linear(words, scales)(x), device="cpu") <= 1


@pytest.mark.skipif(not OLD_NUMPY, reason="needs a NumPy before 2.1")
def test_read_only_arrays_of_an_old_numpy_are_explained() -> None:
    words, scales, _ = read_only_layer()
    with pytest.raises(ValueError, match=r"Use NumPy 2\.1 or newer, or copy"):
        Q4F16Linear(words, scales)


def bad_weight(**change: Any) -> dict[str, Any]:
    words, scales, _ = random_layer(3, 64)
    return {"words": words, "scales": scales, **change}


@pytest.mark.parametrize(
    ("weight", "error", "text"),
    [
        (bad_weight(words=np.zeros((3, 8), np.int32)), TypeError, "words must be uint32.*is int32"),
        (bad_weight(scales=np.zeros((3, 2), np.float32)), TypeError, "scales must be float16"),
        (bad_weight(words=np.zeros(8, np.uint32)), ValueError, r"words must have shape \[any, 8\]"),
        (bad_weight(words=np.zeros((3, 9), np.uint32)), ValueError, r"it has shape \[3, 9\]"),
        (bad_weight(words=np.zeros((0, 8), np.uint32)), ValueError, "no empty dimension"),
        (bad_weight(words=np.zeros((3, 16), np.uint32)[:, ::2]), ValueError, "contiguous"),
        (bad_weight(scales=np.zeros((4, 2), np.float16)), ValueError, r"scales .* \[3, 2\]"),
        (bad_weight(in_features=0), ValueError, "in_features must be from 1 to"),
        (bad_weight(in_features=65), ValueError, r"\[any, 12\]"),
        (bad_weight(in_features=2**31 - 1), ValueError, "words must have shape"),
        (bad_weight(in_features=2**63 - 1), ValueError, "in_features must be from 1 to"),
        (bad_weight(device="gpu"), ValueError, 'no device "gpu".*mlc_llm devices'),
        (bad_weight(device="vulkan:"), ValueError, 'no device "vulkan:"'),
        (bad_weight(device="vulkan:-1"), ValueError, 'no device "vulkan:-1"'),
        (bad_weight(device="vulkan:999"), ValueError, "no device"),
        (bad_weight(device="vulkan:99999999999"), ValueError, "no device"),
    ],
)
def test_a_bad_weight_is_refused(weight: dict[str, Any], error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        Q4F16Linear(**weight)


@pytest.mark.parametrize(
    ("x", "out", "error", "text"),
    [
        (np.zeros(64, np.float32), None, TypeError, "x must be float16.*is float32"),
        (np.zeros(63, np.float16), None, ValueError, r"x must have shape \[64\]"),
        (np.zeros((1, 64), np.float16), None, ValueError, "x must have shape"),
        (np.zeros(128, np.float16)[::2], None, ValueError, "x must be contiguous"),
        (np.zeros(64, np.float16), np.zeros(4, np.float16), ValueError, "out must have shape"),
        (np.zeros(64, np.float16), np.zeros(3, np.float32), TypeError, "out must be float16"),
        ([0.0] * 64, None, TypeError, "Mismatched type"),
    ],
)
def test_a_bad_call_is_refused(x: Any, out: Any, error: type, text: str) -> None:
    words, scales, _ = random_layer(3, 64)
    with pytest.raises(error, match=text):
        Q4F16Linear(words, scales)(x, out)


def test_a_read_only_out_is_refused() -> None:
    words, scales, x = random_layer(3, 64)
    out = np.zeros(3, np.float16)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writable"):
        Q4F16Linear(words, scales)(x, out)


def test_an_unknown_instruction_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_LLM_CPU_ISA", "mmx")
    with pytest.raises(ValueError, match=r"MLC_LLM_CPU_ISA.*it offers portable"):
        Q4F16Linear(**bad_weight())
