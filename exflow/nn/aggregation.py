"""From the features of the elements of a set to one feature of the set.

Attention is with a single query per set, so its memory is linear in the set size. Sources: Edwards & Storkey 2017,
arXiv:1606.02185 (mean); Giannone & Winther 2022, arXiv:2110.12279 (LAG, learnable aggregation: the query is a
projection of the mean).
"""

import math

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from exflow.core import set_statistics
from exflow.core.set_statistics import AnyState, masked_max, masked_mean, masked_softmax, with_mask
from exflow.nn.layers import bias_init, kernel_init

KINDS = ("mean", "max", "attention", "learned_query")


class SetAggregator(nn.Module):
    """Permutation-invariant aggregate of a set of any size, the empty one included.

    With keys k_s = W_k e_s + b_k, values v_s = W_v e_s + b_v and d channels per head the aggregate of attention is

        a_{head,s} = softmax_s( q_head' k_{s,head} / sqrt(d pixels) ),    concat_heads sum_s a_{head,s} v_{s,head},

    the product q'k being summed over the channels of the head and, of maps, over all pixels: one weight per head and
    element. There is no output projection. Keys and values of a set are not computed: q_head' k_s is (W_k q_head)' e_s
    up to a constant that the softmax removes, and sum_s a_s v_s = W_v (sum_s a_s e_s) + b_v. That is the same function
    for heads / channels of the arithmetic per element; the gradient of b_k, which has no influence, is exactly zero.

    Attributes:
      kind: "mean"; "max" of every entry; "attention" with the query q = W_q (mean of the elements) + b_q (LAG);
        "learned_query": attention with a q that is a parameter, the same for all pixels and sets. It starts at zero,
        which gives the mean of the values, and can be kept over a stream, see `update_state`.
      num_heads: Number of heads of attention, a divisor of the channels.
      initialization: Of query, key and value, see `exflow.nn.layers.Linear`.
    """

    kind: str
    num_heads: int = 4
    initialization: str = "uniform_fan_in"

    def __call__(
        self, features: Float[Array, "..."], mask: Bool[Array, "*batch set"]
    ) -> tuple[Float[Array, "..."], Float[Array, "*batch head set"] | None]:
        """Aggregate.

        Args:
          features: Elements `[*batch, set, channels]` or maps `[*batch, set, height, width, channels]`.
          mask: Which elements exist. The others may hold anything, NaN included, and get gradients of exactly zero.

        Returns:
          The feature of the set, `[*batch, channels]` or `[*batch, height, width, channels]`, exactly zero for the
          empty set; and the attention weights, which sum to one over the elements (zero for the empty set), None for
          mean and max.

        Raises:
          ValueError: Unknown kind, shapes that do not fit, or heads that do not divide the channels.
        """
        if self.kind not in KINDS:
            raise ValueError(f"kind: expected one of {KINDS}, got {self.kind!r}.")
        if self.kind == "mean":
            return masked_mean(features, mask), None
        if self.kind == "max":
            return masked_max(features, mask), None
        pixels = _as_pixels(features, mask)
        query, key, value = self._parameters(features.shape[-1])
        weights = masked_softmax(self._logits(pixels, mask, query, key), mask)
        pooled = weights @ _flat(pixels)
        pooled = pooled.reshape(*weights.shape[:-1], *pixels.shape[-2:])  # [*batch, head, pixel, channels]
        out = jnp.einsum("...hpc,chd->...phd", pooled, self._by_head(value[0]))
        out = out.reshape(*mask.shape[:-1], *features.shape[mask.ndim :])
        nonempty = mask.any(axis=-1).reshape(*mask.shape[:-1], *(1,) * (out.ndim - mask.ndim + 1))
        return out + jnp.where(nonempty, _like(value[1], out), 0.0), weights

    def update_state(self, state: AnyState, features: Float[Array, "..."], mask: Bool[Array, "*batch set"]) -> AnyState:
        """The state of `exflow.core.set_statistics` with further elements; `finalize` gives the aggregate of all.

        Args:
          state: Of the elements so far, at first `init(kind, event_shape, batch_shape, num_heads)`.
          features: Further elements, as above.
          mask: Which of them exist.

        Raises:
          ValueError: As above, or a state of another kind; "attention" has none.
        """
        if not isinstance(state, set_statistics.STATES.get(self.kind, ())):
            raise ValueError(
                f"state: expected that of the kind {self.kind!r}, got {type(state).__name__}. Start from "
                "set_statistics.init."
            )
        if self.kind != "learned_query":
            return set_statistics.update(state, features, mask)
        pixels = _as_pixels(features, mask)
        query, key, (kernel, bias) = self._parameters(features.shape[-1])
        values = (pixels @ kernel + _like(bias, pixels)).reshape(features.shape)
        return set_statistics.update(state, values, mask, self._logits(pixels, mask, query, key))

    @nn.compact
    def _parameters(self, channels: int) -> tuple:
        """Query, key and value; each a kernel and bias, or the learned query."""
        set_statistics.check_heads(channels, self.num_heads)
        if self.kind == "learned_query":
            query = self.param("query", nn.initializers.zeros, (channels,))
        else:
            query = _Projection(self.initialization, name="query")(channels)
        return query, *(_Projection(self.initialization, name=name)(channels) for name in ("key", "value"))

    def _logits(self, pixels: Array, mask: Array, query, key: tuple[Array, Array]) -> Float[Array, "*batch head set"]:
        """Scaled products of query and keys, without the part that all elements share."""
        num_pixels, channels = pixels.shape[-2:]
        key_kernel = self._by_head(key[0]) / math.sqrt(channels // self.num_heads * num_pixels)
        if self.kind == "learned_query":
            direction = jnp.einsum("chd,hd->hc", key_kernel, query.reshape(self.num_heads, -1))
            return jnp.einsum("hc,...sc->...hs", direction, pixels.sum(axis=-2))
        mean = masked_mean(pixels, mask)
        queries = mean @ query[0] + _like(query[1], mean)
        queries = queries.reshape(*mean.shape[:-1], self.num_heads, channels // self.num_heads)
        direction = jnp.einsum("chd,...phd->...hpc", key_kernel, queries)
        products = _flat(pixels) @ jnp.swapaxes(_flat(direction), -1, -2)  # this order copies no features
        return jnp.swapaxes(products, -1, -2)

    def _by_head(self, kernel: Array) -> Float[Array, "channels head per_head"]:
        return kernel.reshape(kernel.shape[0], self.num_heads, -1)


class _Projection(nn.Module):
    """Kernel and bias of a dense layer that keeps the number of channels."""

    initialization: str

    @nn.compact
    def __call__(self, channels: int) -> tuple[Float[Array, "channels channels"], Float[Array, " channels"]]:
        init = kernel_init(self, self.initialization, channels, channels)
        kernel = self.param("kernel", init, (channels, channels))
        return kernel, self.param("bias", bias_init(self, self.initialization, channels), (channels,))


def _as_pixels(features: Array, mask: Array) -> Float[Array, "*batch set pixel channels"]:
    """Vectors and maps alike, with zeros for elements that do not exist."""
    *spatial, channels = features.shape[mask.ndim :]
    return with_mask(features, mask).reshape(*mask.shape, math.prod(spatial), channels)


def _flat(x: Array) -> Array:
    """The last two axes as one."""
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def _like(values: Float[Array, " channels"], x: Array) -> Array:
    return values.reshape((1,) * (x.ndim - 1) + (-1,))
