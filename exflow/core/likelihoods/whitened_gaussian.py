"""A Gaussian of whitened pixels: means from the decoder, one learned log-variance for all entries of all images.

    ln p(x + u) = sum_d ln N(z_d; mean_d, exp(log_variance)) + ln |det W|,    z = W (x + u - m),    u ~ U[0, 1)

is a density of dequantised pixels on the scale 0..256, so that its expectation over u bounds the log probability of
the 8-bit pixels, and nats / (dim ln 2) are bits per dimension. The original's evaluation fits the log-variance on the
test images; here it is learned with the other parameters.

Source: the public code of Bachman 2016, arXiv:1612.04739, for CIFAR-10.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core.bijectors import whitening
from exflow.core.bijectors.whitening import Whitening
from exflow.core.distributions import normal_log_prob
from exflow.core.likelihoods.likelihood import Likelihood, checked
from exflow.core.quantization import dequantize, quantize
from exflow.typing import PRNGKey

INITIAL_LOG_VARIANCE = 1.0


def whitened_gaussian(whitener: Whitening, log_variance: Float[Array, ""]) -> Likelihood:
    """The law under a fitted whitening and a log-variance.

    Values are whitened dequantised pixels in the form of the image; without a key the noise is its mean, 1/2.
    """

    def flat(images: Array) -> Array:
        return images.reshape(*images.shape[:-3], math.prod(images.shape[-3:]))

    def to_values(key: PRNGKey | None, x: Array) -> Array:
        return whitening.whiten(whitener, flat(dequantize(key, x))).reshape(x.shape)

    def log_prob(outputs: Array, values: Array) -> Array:
        variance = jnp.broadcast_to(jnp.exp(log_variance), outputs.shape)
        log_probs = normal_log_prob((values - outputs) ** 2, variance).sum(axis=(-3, -2, -1))
        return log_probs + whitening.log_det(whitener)

    def sample(key: PRNGKey, outputs: Array) -> Array:
        return outputs + jnp.exp(0.5 * log_variance) * jax.random.normal(key, outputs.shape, outputs.dtype)

    law = Likelihood(
        name="whitened_gaussian",
        num_outputs=lambda channels: channels,
        to_values=to_values,
        log_prob=log_prob,
        mean=lambda outputs: outputs,
        sample=sample,
        to_pixels=lambda values: quantize(whitening.unwhiten(whitener, flat(values))).reshape(values.shape),
        discrete=False,
    )
    return checked(law, "uint8")
