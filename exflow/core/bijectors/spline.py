"""Monotone rational-quadratic splines, and couplings that transform entries by them."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core.bijectors.bijector import Bijector
from exflow.core.bijectors.coupling import Mask, MaskFunction, resolved_mask, sum_over_event
from exflow.core.ranges import at_least, at_most
from exflow.typing import Network, Params, PRNGKey

MIN_SHARE = 1e-3  # of a bin in the width and height of the spline
MIN_SLOPE = 1e-3  # at a knot


class _Bin(NamedTuple):
    """The piece of the spline in which an entry falls."""

    left: Array  # knot below, x_k
    width: Array
    bottom: Array  # value there, y_k
    height: Array
    left_slope: Array
    right_slope: Array


def num_outputs(num_bins: int) -> int:
    """Raw values per entry that describe a spline: widths, heights and the slopes at the inner knots."""
    return 3 * num_bins - 1


def spline(
    raw: Float[Array, "*shape outputs"], x: Float[Array, "*shape"], bound: float, inverse: bool = False
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Map every x in [-bound, bound] by its own increasing spline onto that interval; outside it is the identity.

    The spline has K bins whose widths and heights are softmaxes of raw values and whose slopes at the inner knots are
    softpluses; at the ends the slope is 1. In a bin of slope s = height / width between slopes d and d', at the share
    t of its width,

        y = y_k + height (s t^2 + d t (1 - t)) / (s + (d + d' - 2 s) t (1 - t)).

    Raw values of zero give the identity.

    Args:
      raw: 3 K - 1 raw values per entry, K at least 2.
      x: Entries.
      bound: Half the length of the interval, above 0.
      inverse: Apply the inverse map instead.

    Returns:
      The mapped entries, and the logarithm of the slope of the map just computed.

    Source: Durkan et al. 2019, arXiv:1906.04032, section 3.1 and appendix A.
    """
    inside = jnp.abs(x) < bound
    clipped = jnp.clip(x, -bound, bound)
    piece = _bin_of(raw, clipped, bound, inverse)
    slope = piece.height / piece.width
    curvature = piece.left_slope + piece.right_slope - 2.0 * slope
    if inverse:
        rise = clipped - piece.bottom
        a = piece.height * (slope - piece.left_slope) + rise * curvature
        b = piece.height * piece.left_slope - rise * curvature
        root = jnp.sqrt(jnp.maximum(b**2 + 4.0 * a * slope * rise, jnp.finfo(x.dtype).tiny))
        share = 2.0 * slope * rise / (b + root)
    else:
        share = (clipped - piece.left) / piece.width
    share = at_most(at_least(share, 0.0), 1.0)  # it is 0 at a knot
    both = share * (1.0 - share)
    denominator = slope + curvature * both
    numerator = piece.right_slope * share**2 + 2.0 * slope * both + piece.left_slope * (1.0 - share) ** 2
    log_slope = 2.0 * jnp.log(slope) + jnp.log(numerator) - 2.0 * jnp.log(denominator)
    if inverse:
        mapped, log_slope = piece.left + share * piece.width, -log_slope
    else:
        mapped = piece.bottom + piece.height * (slope * share**2 + piece.left_slope * both) / denominator
    return jnp.where(inside, mapped, x), jnp.where(inside, log_slope, 0.0)


def _bin_of(raw: Array, x: Array, bound: float, inverse: bool) -> _Bin:
    num_bins = (raw.shape[-1] + 1) // 3
    raw_widths, raw_heights, raw_slopes = jnp.split(raw, (num_bins, 2 * num_bins), axis=-1)
    widths, lefts = _lengths_and_starts(raw_widths, bound)
    heights, bottoms = _lengths_and_starts(raw_heights, bound)
    start = math.log(math.expm1(1.0 - MIN_SLOPE))  # raw 0 is slope 1
    slopes = MIN_SLOPE + jax.nn.softplus(raw_slopes + start)
    ones = jnp.ones_like(slopes[..., :1])
    knots = bottoms if inverse else lefts
    reached = x[..., jnp.newaxis] >= knots[..., 1:]
    always = jnp.ones_like(reached[..., :1])
    chosen = jnp.concatenate([always, reached], axis=-1) & ~jnp.concatenate([reached, ~always], axis=-1)

    def choose(values: Array) -> Array:  # a masked sum: its gradient needs no scatter
        return jnp.where(chosen, values, 0.0).sum(axis=-1)

    left_slopes, right_slopes = jnp.concatenate([ones, slopes], axis=-1), jnp.concatenate([slopes, ones], axis=-1)
    return _Bin(*map(choose, (lefts, widths, bottoms, heights, left_slopes, right_slopes)))


def _lengths_and_starts(raw: Array, bound: float) -> tuple[Array, Array]:
    """Lengths of the bins, which fill [-bound, bound], and where each of them starts."""
    num_bins = raw.shape[-1]
    lengths = 2.0 * bound * (MIN_SHARE + (1.0 - num_bins * MIN_SHARE) * jax.nn.softmax(raw, axis=-1))
    before = jnp.triu(jnp.ones((num_bins, num_bins), raw.dtype), 1)  # a product: `jnp.cumsum` is slow on CPU
    return lengths, jnp.matmul(lengths, before, precision=jax.lax.Precision.HIGHEST) - bound


def spline_coupling(
    mask: Mask | MaskFunction, conditioner: Network, num_bins: int = 8, bound: float = 12.0
) -> Bijector:
    """Coupling in which entries where the mask is True pass through and choose a spline for each of the others.

    Unlike an affine coupling it can bend: two clusters of values, such as dark and bright pixels, move independently.

    Args:
      mask: As in `affine_coupling`.
      conditioner: Network with `init(key, masked_x, context)` and `apply(params, masked_x, context)` returning one
        array of the shape of x with an axis of `num_outputs(num_bins)` raw values behind; zeros give the identity.
      num_bins: Bins per spline, at least 2.
      bound: Entries beyond +-bound are left alone. Logit pixels lie within +-12.3.

    Returns:
      A bijector with the params of the network.

    Raises:
      ValueError: `num_bins` or `bound` is out of range.

    Source: Durkan et al. 2019, arXiv:1906.04032 (neural spline flows, RQ-NSF with couplings).
    """
    if num_bins < 2 or num_bins * MIN_SHARE >= 1:
        raise ValueError(f"num_bins: expected at least 2 and less than {1 / MIN_SHARE:.0f}, got {num_bins}.")
    if not bound > 0:
        raise ValueError(f"bound: expected a positive number, got {bound}.")

    def transform(params: Params, x: Array, context, inverse: bool) -> tuple[Array, Array]:
        keep = resolved_mask(mask, x)
        raw = conditioner.apply(params, jnp.where(keep, x, 0.0), context)
        expected = (*x.shape, num_outputs(num_bins))
        if getattr(raw, "shape", None) != expected:
            got = raw.shape if hasattr(raw, "shape") else type(raw).__name__
            raise ValueError(f"conditioner: expected one output of shape {expected}, got {got}. Use num_outputs.")
        mapped, log_slope = spline(raw.astype(x.dtype), x, bound, inverse)
        return jnp.where(keep, x, mapped), sum_over_event(jnp.where(keep, 0.0, log_slope))

    def init(key: PRNGKey, x: Float[Array, "batch *event"], context=None) -> Params:
        return conditioner.init(key, jnp.where(resolved_mask(mask, x), x, 0.0), context)

    def forward(params: Params, x: Float[Array, "batch *event"], context=None):
        return transform(params, x, context, inverse=False)

    def inverse(params: Params, z: Float[Array, "batch *event"], context=None):
        return transform(params, z, context, inverse=True)

    return Bijector(init, forward, inverse)
