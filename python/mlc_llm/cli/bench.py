"""``mlc_llm bench``: how fast a model runs here."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlc_llm.cli.options import add_model, load_engine, positive
from mlc_llm.memory import peak_memory

if TYPE_CHECKING:
    from mlc_llm import MLCEngine
    from mlc_llm.work import Work

_SAMPLE_BYTES = 128 << 20  # of a thread, larger than caches


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "bench",
        help="measure how fast a model runs here",
        description="Measure prefill and decode with random tokens, memory, and which share of "
        "the machine's read bandwidth decoding uses.",
    )
    add_model(parser)
    for name, default, what in (
        ("--prefill", 512, "prompt tokens"),
        ("--decode", 128, "generated tokens"),
        ("--rounds", 3, "the best one counts"),
    ):
        text = f"{what} (default: {default})"
        parser.add_argument(name, type=positive, default=default, metavar="N", help=text)
    parser.add_argument(
        "--explain", action="store_true", help="also show what a decoded token takes, and its limit"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from mlc_llm.work import copy_bandwidth  # noqa: PLC0415 - imports NumPy

    with load_engine(args) as engine:
        _shorten(args, engine.plan.context)
        rounds = []
        for seed in range(args.rounds):
            rounds.append(_measure(engine, args, seed))
            told = "prefill {:.1f}, decode {:.1f} tokens/s".format(*rounds[-1])
            print(f"round {seed + 1} of {args.rounds}: {told}", file=sys.stderr)
        prefill = max(speed for speed, _ in rounds)
        decode = max(speed for _, speed in rounds)
        # Before the bandwidth is measured: that takes memory of its own.
        peak = peak_memory()
        work = engine.last_work(args.prefill + args.decode)
        on_cpu = engine.plan.device == "cpu"
        bandwidth = _read_bandwidth() if on_cpu else copy_bandwidth(engine.plan.device)
        used = decode * work.weight_bytes
        report: dict[str, Any] = {
            "model": args.model,
            "prefill_tokens": args.prefill,
            "decode_tokens": args.decode,
            "prefill_tokens_per_s": prefill,
            "decode_tokens_per_s": decode,
            "weight_bytes": engine.plan.weight_bytes,
            "cache_bytes": engine.plan.cache_bytes,
            "peak_resident_bytes": peak,
            "read_bandwidth_bytes_per_s": bandwidth,
            "bandwidth_share": used / bandwidth,
        }
    if args.explain:
        report["decoded_token"] = asdict(work)
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print(_format(report))
        if args.explain:
            print(_explain(report, work))
    return 0


def _shorten(args: argparse.Namespace, context: int) -> None:
    """Make prompt and answer fit a short context, and say so."""
    if args.prefill + args.decode < context:
        return
    args.prefill = min(args.prefill, max(1, context // 2))
    args.decode = max(1, min(args.decode, context - args.prefill - 1))
    print(
        f"mlc_llm: in {context} tokens of context, {args.prefill} are prefilled and {args.decode} "
        "are decoded.",
        file=sys.stderr,
    )


def _measure(engine: MLCEngine, args: argparse.Namespace, seed: int) -> tuple[float, float]:
    """Return the tokens per second of prefill and of decode, for a prompt never seen before."""
    import numpy as np  # noqa: PLC0415

    random = np.random.default_rng(seed)
    prompt = random.integers(0, engine.vocabulary, args.prefill).tolist()
    result = engine.completions.create(
        prompt=prompt, max_tokens=args.decode + 1, temperature=0, ignore_eos=True
    )
    times = result.usage.extra if result.usage else {}
    return times["prefill_tokens_per_s"] or 0.0, times["decode_tokens_per_s"] or 0.0


def _read_bandwidth() -> float:
    """Return the bytes per second at which all processors together read memory."""
    import numpy as np  # noqa: PLC0415

    affinity = getattr(os, "sched_getaffinity", None)  # neither Windows nor macOS has it
    threads = len(affinity(0)) if affinity else os.cpu_count() or 1
    blocks = [np.ones(_SAMPLE_BYTES // 8, np.uint64) for _ in range(threads)]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(np.bitwise_or.reduce, blocks))
            best = max(best, threads * _SAMPLE_BYTES / (time.perf_counter() - start))
    return best


def _explain(report: dict[str, Any], work: Work) -> str:
    read = work.weight_bytes + work.cache_bytes
    limit = 1e3 * read / report["read_bandwidth_bytes_per_s"]
    weights, cache = work.weight_bytes / 1e6, work.cache_bytes / 1e6
    lines = [
        f"reads    {weights:8.1f} MB of weights and {cache:.1f} MB of keys and values for a token",
        f"takes    {1e3 / report['decode_tokens_per_s']:8.3f} ms, {limit:.3f} at that bandwidth",
    ]
    if work.submissions:
        lines.append(
            f"does     {work.dispatches:8} dispatches with {work.barriers} barriers in "
            f"{work.submissions} submissions; {work.returned_bytes} bytes come back"
        )
    return "\n".join(lines)


def _format(report: dict[str, Any]) -> str:
    bandwidth = report["read_bandwidth_bytes_per_s"] / 1e9
    return f"""\
prefill  {report["prefill_tokens_per_s"]:8.1f} tokens/s, {report["prefill_tokens"]} tokens
decode   {report["decode_tokens_per_s"]:8.1f} tokens/s, {report["decode_tokens"]} tokens, \
{report["bandwidth_share"]:.0%} of the bandwidth of {bandwidth:.1f} GB/s
memory   {report["peak_resident_bytes"] / 2**20:8.1f} MiB at most, weights \
{report["weight_bytes"] / 2**20:.1f} MiB among them"""
