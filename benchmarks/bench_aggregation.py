"""Aggregates of sets of 10 to 10,000 elements: time and memory per element.

The number of elements in all is the same for every set size, so that "x smallest set" is about 1 where the cost is
linear in the set size; what is done once per set weighs most in the smallest. The textbook form of attention computes
keys and values of every element.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.report import Result, Table, main
from benchmarks.timing import interleaved, ratio
from exflow.core import set_statistics
from exflow.nn.aggregation import KINDS, SetAggregator

CHANNELS, NUM_HEADS, NUM_ELEMENTS = 128, 4, 10_000
SET_SIZES = (10, 100, 1_000, 10_000)
QUICK_ELEMENTS, QUICK_SET_SIZES = 30, (10, 30)
EXPLICIT = "attention, explicit"


def explicit_attention(params: Any, features: Array, mask: Array) -> Array:
    """The same aggregate as "attention", from keys and values of every element."""
    query, keys, values = (
        x @ params["params"][name]["kernel"] + params["params"][name]["bias"].reshape((1,) * (x.ndim - 1) + (-1,))
        for name, x in (("query", set_statistics.masked_mean(features, mask)), ("key", features), ("value", features))
    )
    query, keys, values = (x.reshape(*x.shape[:-1], NUM_HEADS, -1) for x in (query, keys, values))
    logits = jnp.einsum("bhd,bshd->bhs", query, keys) / math.sqrt(query.shape[-1])
    out = jnp.einsum("bhs,bshd->bhd", set_statistics.masked_softmax(logits, mask), values)
    return out.reshape(*out.shape[:-2], -1)


def variants() -> dict[str, tuple[Callable[[Any, Array, Array], Array], Any]]:
    """Functions (params, features, mask) -> aggregates with their parameters, by name."""
    features, mask = jnp.zeros((1, 2, CHANNELS)), jnp.ones((1, 2), bool)
    found = {}
    for kind in KINDS:
        module = SetAggregator(kind, NUM_HEADS)
        params = module.init(jax.random.key(0), features, mask)
        found[kind] = (lambda *args, module=module: module.apply(*args)[0]), params
    found[EXPLICIT] = explicit_attention, found["attention"][1]
    return found


def run(quick: bool) -> Result:
    """Of values, and of gradients in parameters and features; bytes: temporary and output memory as XLA plans it."""
    num_elements, set_sizes = (QUICK_ELEMENTS, QUICK_SET_SIZES) if quick else (NUM_ELEMENTS, SET_SIZES)
    elements = jnp.asarray(np.random.default_rng(0).normal(size=(num_elements, CHANNELS)), jnp.float32)
    medians: Table = {}
    ratios: Table = {}
    for derivative in ("forward", "gradient"):
        calls, planned = {}, {}
        for name, (function, params) in variants().items():
            if derivative == "gradient":
                function = jax.grad(lambda *args, value=function: (value(*args) ** 2).sum(), argnums=(0, 1))
            for set_size in set_sizes:
                features = elements.reshape(-1, set_size, CHANNELS)
                args = params, features, jnp.ones(features.shape[:2], bool)
                compiled = jax.jit(function).lower(*args).compile()
                calls[name, set_size] = lambda compiled=compiled, args=args: compiled(*args)
                analysis = compiled.memory_analysis()
                written = analysis.temp_size_in_bytes + analysis.output_size_in_bytes if analysis else math.nan
                planned[name, set_size] = written / num_elements
        timings = interleaved(calls, quick)
        for (name, set_size), timing in timings.items():
            row = f"{name}, {derivative}, {set_size:,} elements"
            medians[row] = {
                "ms": 1e3 * timing.median,
                "us per element": 1e6 * timing.median / num_elements,
                "bytes per element": planned[name, set_size],
            }
            smallest = name, set_sizes[0]
            ratios[row] = {
                "time x smallest set": ratio(timing, timings[smallest]),
                "bytes x smallest set": planned[name, set_size] / planned[smallest],
            }
            if name == EXPLICIT:
                ratios[row]["explicit / attention"] = ratio(timing, timings["attention", set_size])
    settings = {"channels": CHANNELS, "num_heads": NUM_HEADS, "num_elements": num_elements, "set_sizes": set_sizes}
    return Result(settings, medians, ratios)


if __name__ == "__main__":
    main(run)
