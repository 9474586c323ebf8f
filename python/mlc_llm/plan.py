"""How a model is fitted into memory: decided before anything is allocated, and stated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlc_llm.placement import Memory, Placement, measure

if TYPE_CHECKING:
    from mlc_llm.models import ModelConfig

PAGE_TOKENS = 32  # kPageTokens of cpp/runtime/backend.h
_HEAD_ALIGN = 16  # kHeadAlign there: values that heads are padded to in the cache
_MAX_CHUNK = 8192  # tokens
_GIB = 1 << 30
_MIB = 1 << 20


@dataclass(frozen=True)
class Plan:
    """What was chosen. Sizes ending in ``_bytes`` are bytes, `context` is tokens of one request.

    `device` is an id, and `device_why` says why that one.
    `pages` of 32 tokens are shared by up to `sequences` requests at once; `prefill_chunk` is how
    many tokens are computed together at most: as asked for, or as the device's buffers allow.
    """

    device: str
    device_why: str
    context: int
    sequences: int
    pages: int
    prefill_chunk: int
    weight_bytes: int
    cache_bytes: int
    working_bytes: int
    available_bytes: int
    why: str

    def __str__(self) -> str:
        sizes = (
            f"weights {format_size(self.weight_bytes)}, cache {format_size(self.cache_bytes)}, "
            f"working memory {format_size(self.working_bytes)} "
            f"of {format_size(self.available_bytes)} free"
        )
        return (
            f"On {self.device} ({self.device_why}): context of {self.context} tokens "
            f"({self.why}), up to {self.sequences} requests together on "
            f"{self.pages * PAGE_TOKENS} tokens of cache: {sizes}."
        )


def place(
    placements: Sequence[Placement],
    config: ModelConfig,
    *,
    measure: Callable[[str], Memory] = measure,
    **wishes: Any,
) -> Plan:
    """Return the plan for the first of `placements` that the model fits on.

    `wishes` are those of make_plan. Raises ValueError when there is none, with the last's numbers.
    """
    first, *others = placements
    try:
        return make_plan(config, first, measure(first.device), **wishes)
    except ValueError:
        if not others:
            raise
    last = Placement(others[-1].device, f"the model does not fit on {first.device}")
    return place([*others[:-1], last], config, measure=measure, **wishes)


def make_plan(
    config: ModelConfig,
    placement: Placement,
    memory: Memory,
    *,
    weight_bytes: int,
    max_context: int | None = None,
    max_sequences: int = 8,
    prefill_chunk: int = 512,
) -> Plan:
    """Choose context and cache for a device with this `memory`.

    By itself the cache takes at most half of what the weights leave, so that other programs live;
    a context that was asked for may take all of it. Raises ValueError when the model or that
    context does not fit, with the numbers.
    """
    _check("prefill_chunk", prefill_chunk, _MAX_CHUNK)
    _check("max_sequences", max_sequences, prefill_chunk)
    if memory.buffer is not None:  # the rows of a step have one together
        rows = memory.buffer // (4 * _widest(config))
        if rows < max_sequences:
            raise ValueError(
                f"The rows of {max_sequences} requests do not fit into the device's buffers, of at "
                f"most {format_size(memory.buffer)}: {rows} do."
            )
        prefill_chunk = min(prefill_chunk, rows)
    limit = config.context_window
    if max_context is not None:
        _check("max_context", max_context, limit)
        limit = max_context
    working = _working_bytes(config, prefill_chunk, max_sequences)
    available = min(memory.total, memory.available)
    left = available - weight_bytes - working
    page = page_bytes(config)
    wanted = -(-limit // PAGE_TOKENS)
    least = 1 if max_context is None else wanted
    if left < least * page:
        raise ValueError(
            f"The model needs {format_size(weight_bytes + working + least * page)} (weights "
            f"{format_size(weight_bytes)}, working memory {format_size(working)}, cache of "
            f"{least * PAGE_TOKENS} tokens {format_size(least * page)}), but "
            f"{format_size(max(available, 0))} of the device's {format_size(memory.total)} are "
            "free: use a smaller model or context, or free memory."
        )
    pages = min(wanted * max_sequences, max(left // 2 // page, least))
    if memory.buffer is not None:  # of each layer, keys and values have one each
        pages = min(pages, memory.buffer * 2 * config.layers // page)
    if pages < least:
        raise ValueError(
            f"The cache of {least * PAGE_TOKENS} tokens does not fit into the device's buffers, of "
            f"at most {format_size(memory.buffer or 0)} for a layer: use a smaller context."
        )
    context = min(limit, pages * PAGE_TOKENS)
    if context < limit:
        why = f"the model's {limit} do not fit"
    else:
        why = "as asked for" if max_context is not None else "all that the model knows"
    return Plan(
        device=placement.device,
        device_why=placement.why,
        context=context,
        sequences=max_sequences,
        pages=pages,
        prefill_chunk=prefill_chunk,
        weight_bytes=weight_bytes,
        cache_bytes=pages * page,
        working_bytes=working,
        available_bytes=available,
        why=why,
    )


def page_bytes(config: ModelConfig) -> int:
    """Return the bytes of one page of the cache: keys and values of every layer."""
    padded = -(-config.head_dim // _HEAD_ALIGN) * _HEAD_ALIGN
    values = 2 * config.layers * config.kv_heads * padded * PAGE_TOKENS
    return values * (2 if config.half_cache else 4)


def _working_bytes(config: ModelConfig, rows: int, sequences: int) -> int:
    """Estimate the activations of `rows` tokens, and the logits of `sequences`."""
    heads = 2 * config.heads + 2 * config.kv_heads
    row = 4 * config.hidden + heads * config.head_dim + 3 * config.intermediate
    return 4 * (rows * row + sequences * config.vocab)


def _widest(config: ModelConfig) -> int:
    """Return the most values of a token that lie in one buffer."""
    heads = config.heads + 2 * config.kv_heads
    return max(config.hidden, heads * config.head_dim, config.intermediate)


def _check(name: str, value: int, highest: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= highest:
        raise ValueError(f"{name} must be a whole number from 1 to {highest}, and is {value!r}.")


def format_size(count: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / _MIB:.1f} MiB"
