"""Observation models: what a decoder emits -> log probabilities, means and samples of images or vectors.

A decoder emits unconstrained outputs `[..., height, width, num_outputs(channels)]`; every function is pure and keeps
the leading axes. Vectors are images of one pixel, `[..., 1, 1, dim]`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core.distributions import normal_log_prob
from exflow.core.likelihoods import discretized_gaussian, logistic_mixture, pixel_bins
from exflow.errors import UserError
from exflow.typing import PRNGKey

GAUSSIAN_LOG_VARIANCE = (-4.0, 3.0)  # range of the densities; the gradient is zero outside
MAX_LOGIT = 15.0  # of bernoulli_clipped: no pixel costs more than 15 nats; the gradient is zero outside


class Likelihood(NamedTuple):
    """The law of an image or vector given the outputs of a decoder."""

    name: str
    num_outputs: Callable[[int], int]  # channels of the data -> channels the decoder emits
    # (key | None, x uint8 or float32 [..., h, w, c]) -> float32 values the encoder sees and `log_prob` scores
    to_values: Callable[..., Array]
    # (outputs [..., h, w, num_outputs], values [..., h, w, c]) -> [...] nats, summed over h, w, c, in float32 at least
    log_prob: Callable[..., Array]
    mean: Callable[..., Array]  # outputs -> values of the same kind (Bernoulli: probabilities)
    sample: Callable[..., Array]  # (key, outputs) -> values
    to_pixels: Callable[..., Array]  # values -> uint8 [..., h, w, c] (rounded, clipped), or float32 for vectors
    discrete: bool  # probabilities of 256 (or 2) pixel values rather than densities


def likelihood(name: str) -> Likelihood:
    """The entry of `LIKELIHOODS`.

    Raises:
      UserError: There is none of that name; names the valid ones.
    """
    if name not in LIKELIHOODS:
        raise UserError(f"likelihood: expected one of {', '.join(LIKELIHOODS)}, got {name!r}. Choose one of them.")
    return LIKELIHOODS[name]


def _bernoulli_values(key: PRNGKey | None, x: Array) -> Array:
    """With a key each pixel is 1 with probability x / 255 (dynamic binarisation), without one where x >= 128."""
    if key is None:
        return (x >= 128).astype(jnp.float32)
    return jax.random.bernoulli(key, x.astype(jnp.float32) / 255.0).astype(jnp.float32)


def _bernoulli_log_prob(logits: Array, values: Array) -> Array:
    """x l - ln(1 + e^l) with logits l, arranged so that nothing cancels at logits of any size; x in [0, 1]."""
    # In one row: YNNPACK, to which XLA gives this on CPUs, is slow where the last axis is short
    logits, values = (array.reshape(*array.shape[:-3], -1) for array in (logits, values))
    # The gradient of sign(l) l at 0 is 0, which makes that of the whole x - 1/2 there; that of abs(l) is 1
    log_probs = values * logits - jnp.maximum(logits, 0.0) - jnp.log1p(jnp.exp(-(jnp.sign(logits) * logits)))
    return log_probs.sum(axis=-1)


def _bernoulli_sample(key: PRNGKey, logits: Array) -> Array:
    return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(logits.dtype)


def _clipped(logits: Array) -> Array:
    return jnp.clip(logits, -MAX_LOGIT, MAX_LOGIT)


def _unit_values(key: PRNGKey | None, x: Array) -> Array:
    return x.astype(jnp.float32) / 255.0


def _unit_pixels(values: Array) -> Array:
    return jnp.clip(jnp.round(255.0 * values), 0, 255).astype(jnp.uint8)


def _center_values(key: PRNGKey | None, x: Array) -> Array:
    return pixel_bins.bin_centers(x)


def _gaussian(name: str, link: Callable[[Array], Array], to_values: Callable, to_pixels: Callable) -> Likelihood:
    """Density of a Gaussian; outputs are means before `link` for all channels, then log variances."""

    def moments(outputs: Array) -> tuple[Array, Array]:
        raw_mean, log_variance = jnp.split(outputs, 2, axis=-1)
        return link(raw_mean), jnp.exp(jnp.clip(log_variance, *GAUSSIAN_LOG_VARIANCE))

    def log_prob(outputs: Array, values: Array) -> Array:
        center, variance = moments(outputs)
        return normal_log_prob((values - center) ** 2, variance).sum(axis=(-3, -2, -1))

    def mean(outputs: Array) -> Array:
        return moments(outputs)[0]

    def sample(key: PRNGKey, outputs: Array) -> Array:
        center, variance = moments(outputs)
        return center + jnp.sqrt(variance) * jax.random.normal(key, center.shape, center.dtype)

    return Likelihood(name, _two_per_channel, to_values, log_prob, mean, sample, to_pixels, discrete=False)


def _one_per_channel(channels: int) -> int:
    return channels


def _two_per_channel(channels: int) -> int:
    return 2 * channels


def _identity(x: Array) -> Array:
    return x


def checked(law: Likelihood, input_dtype: str) -> Likelihood:
    """The same law with arguments checked while tracing and outputs of lower precision brought to float32."""

    def wide(outputs: Array) -> Array:
        return outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))

    def to_values(key: PRNGKey | None, x: Array) -> Array:
        if x.dtype != input_dtype:
            expected = "8-bit pixels" if input_dtype == "uint8" else "vectors"
            raise TypeError(
                f"x: expected {expected} of dtype {input_dtype} for likelihood {law.name}, got {x.dtype}. "
                "Convert x, or choose a likelihood for this data."
            )
        return law.to_values(key, x)

    def log_prob(
        outputs: Float[Array, "*#lead height width outputs"], values: Float[Array, "*#lead height width channels"]
    ) -> Float[Array, "..."]:
        num_outputs = law.num_outputs(values.shape[-1])
        if outputs.shape[-1] != num_outputs:
            raise ValueError(
                f"outputs: expected {num_outputs} channels for likelihood {law.name} of {values.shape[-1]} channels, "
                f"got {outputs.shape[-1]}. Let the decoder emit num_outputs(channels)."
            )
        return law.log_prob(wide(outputs), wide(values))

    def mean(outputs: Float[Array, "*lead height width outputs"]) -> Float[Array, "*lead height width channels"]:
        return law.mean(wide(outputs))

    def sample(
        key: PRNGKey, outputs: Float[Array, "*lead height width outputs"]
    ) -> Float[Array, "*lead height width channels"]:
        return law.sample(key, wide(outputs))

    return law._replace(to_values=to_values, log_prob=log_prob, mean=mean, sample=sample)


_BERNOULLI = Likelihood(
    name="bernoulli",
    num_outputs=_one_per_channel,
    to_values=_bernoulli_values,
    log_prob=_bernoulli_log_prob,
    mean=jax.nn.sigmoid,
    sample=_bernoulli_sample,
    to_pixels=_unit_pixels,
    discrete=True,
)
# As published for Matryoshka networks, but for the 1e-8 that their code adds inside logarithms (at most 14.97 nats)
_BERNOULLI_CLIPPED = _BERNOULLI._replace(
    name="bernoulli_clipped",
    log_prob=lambda logits, values: _bernoulli_log_prob(_clipped(logits), values),
    mean=lambda logits: jax.nn.sigmoid(_clipped(logits)),
    sample=lambda key, logits: _bernoulli_sample(key, _clipped(logits)),
)
_DISCRETIZED_GAUSSIAN = Likelihood(
    name="discretized_gaussian",
    num_outputs=_two_per_channel,
    to_values=_center_values,
    log_prob=discretized_gaussian.log_prob,
    mean=discretized_gaussian.mean,
    sample=discretized_gaussian.sample,
    to_pixels=pixel_bins.pixels,
    discrete=True,
)
_LOGISTIC_MIXTURE = Likelihood(
    name="logistic_mixture",
    num_outputs=logistic_mixture.num_outputs,
    to_values=_center_values,
    log_prob=logistic_mixture.log_prob,
    mean=logistic_mixture.mean,
    sample=logistic_mixture.sample,
    to_pixels=pixel_bins.pixels,
    discrete=True,
)

LIKELIHOODS: dict[str, Likelihood] = {
    law.name: law
    for law in (
        checked(_BERNOULLI, "uint8"),  # logits of binarised pixels
        checked(_BERNOULLI_CLIPPED, "uint8"),  # the same between -15 and 15
        checked(_gaussian("gaussian", _identity, lambda key, x: x, _identity), "float32"),  # vectors
        checked(_gaussian("gaussian_pixels", jax.nn.sigmoid, _unit_values, _unit_pixels), "uint8"),  # pixels / 255
        checked(_DISCRETIZED_GAUSSIAN, "uint8"),  # 256 bins of [-1, 1]
        checked(_LOGISTIC_MIXTURE, "uint8"),  # the same, ten components, colours coupled
    )
}
