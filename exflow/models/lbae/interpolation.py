"""Ways between two codes, and samples that lie on them.

Bits: "orthant", whose ends are exact, and "hyperplane", the published one, which misses some bits of both ends. Real
numbers: a straight line. The published images of `int` are paths between pairs of training codes with the plain
reconstructions of both ends, which are therefore part of what is scored.
"""

import math

import jax
import numpy as np
from jaxtyping import Bool

from exflow.core.binary.codes import PackedBits, pack, unpack
from exflow.core.binary.gaussian_signs import GaussianSigns
from exflow.core.binary.interpolation import interpolate_hyperplane, interpolate_orthant
from exflow.errors import UserError
from exflow.model import Codes, Fitted, FittedCodes
from exflow.typing import PRNGKey

FORMS = {"orthant": "threshold", "hyperplane": "cov"}  # and the methods whose Gaussian vectors they use
PAIRS, STEPS = 1_000, 10  # of training codes, and of codes between the two of a pair, in `int`


def interpolate_bits(fitted: FittedCodes, begin: Codes, end: Codes, num_steps: int, seed: int, form: str) -> Codes:
    """Codes from `begin` to `end`, [steps, num, bits].

    Raises:
      UserError: No such form.
    """
    if form not in FORMS:
        raise UserError(f"form: expected one of {', '.join(FORMS)}, got {form!r}.")
    found = GaussianSigns(**fitted.by(FORMS[form]))
    if form == "hyperplane":
        return interpolate_hyperplane(found, begin, end, num_steps)
    return interpolate_orthant(found, begin, end, num_steps, seed)


def interpolate_numbers(fitted: FittedCodes, begin: Codes, end: Codes, num_steps: int, seed: int, form: str) -> Codes:
    """The straight line, [steps, num, length]."""
    del fitted, seed, form
    share = np.linspace(0.0, 1.0, num_steps)[:, np.newaxis, np.newaxis]
    return ((1.0 - share) * begin + share * end).astype(begin.dtype)


def fit_paths(codes: Bool[np.ndarray, "num bits"], cov: Fitted) -> Fitted:
    """What `int` needs: the published Gaussian vectors, and pairs of codes drawn without replacement."""
    chosen = np.random.default_rng(0).permutation(len(codes))[: 2 * min(PAIRS, len(codes) // 2)]
    return cov | {"pairs": pack(codes[chosen]).packed, "num_bits": np.array(codes.shape[1])}


def draw_paths(fitted: Fitted, key: PRNGKey, num: int) -> Bool[np.ndarray, "num bits"]:
    """Codes of one path after the other: its true first end, ten codes, its true last end.

    Pairs come in a random order; beyond their number they repeat.
    """
    ends = unpack(PackedBits(fitted["pairs"], int(fitted["num_bits"])))
    begin, end = ends[::2], ends[1::2]
    order = np.asarray(jax.random.permutation(key, len(begin)))
    order = np.resize(order, math.ceil(num / (STEPS + 2)))
    signs = GaussianSigns(fitted["factor"], fitted["thresholds"])
    between = interpolate_hyperplane(signs, begin[order], end[order], STEPS)
    path = np.concatenate([begin[None, order], between, end[None, order]])
    return path.swapaxes(0, 1).reshape(-1, ends.shape[1])[:num]
