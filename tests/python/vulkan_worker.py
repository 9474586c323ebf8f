"""Computes logits on a Vulkan device in a process of its own: `vulkan_worker.py MODELS OUT`.

MODELS is JSON, {name: model directory}; OUT becomes an .npz of arrays "name:way". What the driver
offers is asked for once in a process, so that every set of hidden features needs another one.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from model_cases import make_tokens

from mlc_llm.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

LENGTH = 40  # beyond every window and one page of the cache
START = 28  # tokens before the first that comes alone
TOKENS = make_tokens(LENGTH)
BESIDE = make_tokens(9, 1)


def compute(model: Model) -> dict[str, NDArray[Any]]:
    """Return the logits of TOKENS, rows of [vocab], on every way through the kernels.

    "prompt" computes all at once, "decode" those from START on one by one; the others do the same
    with another sequence beside it, which first is a prompt and then decodes.
    """
    found = {"prompt": model.logits(TOKENS)}
    alone = model.sequence()
    model.extend([(alone, TOKENS[:START])])
    found["decode"] = np.concatenate([model.extend([(alone, [t])])[0] for t in TOKENS[START:]])
    first, second = model.sequence(), model.sequence()
    model.extend([(first, TOKENS[:START])])
    parts = [model.extend([(second, BESIDE), (first, TOKENS[START : START + 1])])[1]]
    parts += [model.extend([(first, [t]), (second, [t])])[0] for t in TOKENS[START + 1 :]]
    found["decode beside"] = np.concatenate(parts)
    first, second = model.sequence(), model.sequence()
    model.extend([(second, BESIDE[:1])])
    found["prompt beside"] = model.extend(
        [(second, BESIDE[1:2]), (first, TOKENS), (model.sequence(), BESIDE)]
    )[1]
    return found


def main() -> None:
    """Compute all of it."""
    models, out = sys.argv[1:]
    arrays = {}
    for name, directory in json.loads(models).items():
        model = Model.load(directory, device="vulkan", max_rows=64)
        for way, logits in compute(model).items():
            arrays[f"{name}:{way}"] = logits
    np.savez(out, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
