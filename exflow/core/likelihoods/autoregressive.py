"""Any observation model with an autoregressive network before it: pixels depend on the pixels before them.

    ln p(x | features) = sum_i ln p(x_i | head(features, x)_i),    head(features, x)_i a function of features and x_<i

for pixels i in the order of reading; the law scores the channels of a pixel together. The decoder then emits features
in the place of outputs.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from exflow.core.likelihoods.learned import ImageShape, LearnedLikelihood
from exflow.core.likelihoods.likelihood import Likelihood
from exflow.typing import Network, Params, PRNGKey

Features = Float[Array, "*lead height width num_features"]
Values = Float[Array, "*lead height width channels"]


def autoregressive(base: LearnedLikelihood, head: Network, num_features: int, channels: int) -> LearnedLikelihood:
    """Put a network before a law.

    Args:
      base: Scores the outputs of the network; its `log_prob` is a sum over pixels.
      head: Network (features [..., h, w, num_features], values [..., h, w, channels]) -> outputs
        [..., h, w, base.num_outputs(channels)], of which those at a pixel depend on the values before it alone.
      num_features: Channels that the decoder emits.
      channels: Of the images.

    Returns:
      A law with the learned parameters {"head": ..., "base": those of the law}. Its samples, and its mean, which is the
      image in which every pixel is the mean given those before, take one pass of the head per pixel.
    """

    def init(key: PRNGKey, shape: ImageShape) -> tuple[dict[str, Params], Params]:
        head_key, base_key = jax.random.split(key)
        learned, statistics = base.init(base_key, shape)
        params = head.init(head_key, jnp.zeros((1, *shape[:2], num_features)), jnp.zeros((1, *shape)))
        return {"head": params, "base": learned}, statistics

    def law(learned: Params, statistics: Params) -> Likelihood:
        own = base.law(learned["base"], statistics)

        def outputs(features: Features, values: Values) -> Array:
            return head.apply(learned["head"], features, values)

        def log_prob(features: Features, values: Values) -> Array:
            return own.log_prob(outputs(features, values), values)

        def mean(features: Features) -> Values:
            return one_by_one(outputs, lambda pixel, number: own.mean(pixel), features, channels)

        def sample(key: PRNGKey, features: Features) -> Values:
            def draw(pixel: Array, number: Array) -> Array:
                return own.sample(jax.random.fold_in(key, number), pixel)

            return one_by_one(outputs, draw, features, channels)

        name = f"autoregressive {own.name}"
        return own._replace(name=name, num_outputs=lambda _: num_features, log_prob=log_prob, mean=mean, sample=sample)

    return LearnedLikelihood(f"autoregressive {base.name}", base.discrete, lambda _: num_features, init, law, base.fit)


def one_by_one(
    outputs: Callable[[Features, Values], Array],
    value_of: Callable[[Array, Array], Array],
    features: Features,
    channels: int,
) -> Values:
    """Make images pixel by pixel, in the order of reading.

    Args:
      outputs: Of the features and of the image as far as it is made; later pixels are 0.
      value_of: (outputs of one pixel [..., 1, 1, num_outputs], its number) -> its value [..., 1, 1, channels].
      features: Leading axes, height and width are those of the images.
      channels: Of the images.
    """
    height, width = features.shape[-3:-1]

    def step(number: Array, values: Array) -> Array:
        row, column = number // width, number % width
        there = outputs(features, values)
        pixel = jax.lax.dynamic_slice_in_dim(jax.lax.dynamic_slice_in_dim(there, row, 1, -3), column, 1, -2)
        start = (0,) * (values.ndim - 3) + (row, column, 0)
        return jax.lax.dynamic_update_slice(values, value_of(pixel, number).astype(values.dtype), start)

    empty = jnp.zeros((*features.shape[:-1], channels), jnp.promote_types(features.dtype, jnp.float32))
    return jax.lax.fori_loop(0, height * width, step, empty)
