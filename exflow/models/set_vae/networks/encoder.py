"""Networks that see one element at a time: features for its latents and for those of its set.

Every encoder returns `EncoderFeatures`, for hierarchies whose levels see latents directly, or, for the residual stream,
one map per resolution.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from exflow.models.set_vae.networks.blocks import BlockStyle, HiddenLayer, ResidualBlock
from exflow.models.set_vae.networks.direct_hierarchy import EncoderFeatures
from exflow.nn.layers import Linear
from exflow.nn.normalization import Normalization


class ConvStack(nn.Module):
    """Nine 3x3 convolutions with normalisation and activation, every third of stride 2; channels double per stage.

    28x28 and 32x32 images become maps of 4x4. Images of 64x64 are averaged over 2x2 pixels first.
    """

    style: BlockStyle
    filters: int = 64

    @nn.compact
    def __call__(self, x: Float[Array, "batch set height width channels"], mask: Array, train: bool) -> Array:
        """Maps `[batch, set, 4, 4, 4 filters]`."""
        if x.shape[-3] > 32:
            x = x.reshape(*x.shape[:-3], x.shape[-3] // 2, 2, x.shape[-2] // 2, 2, x.shape[-1]).mean(axis=(-4, -2))
        for stage in range(3):
            for index in range(3):
                layer = Linear(
                    self.filters * 2**stage,
                    (3, 3),
                    strides=2 if index == 2 else 1,
                    initialization=self.style.initialization,
                    compute_dtype=self.style.compute_dtype,
                )
                x = self.style.act(Normalization(self.style.normalization)(layer(x), mask, train))
        return x


class ConvEncoder(nn.Module):
    """`ConvStack` and a projection to the width of the model, flattened unless the model works on maps.

    Attributes:
      style: Of the layers.
      filters: Of the first stage.
      raw_elements: Posteriors of elements see the flattened maps themselves, as in the Neural Statistician's Omniglot
        experiment, and only those of the set see the projection.
    """

    style: BlockStyle
    filters: int = 64
    raw_elements: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch set height width channels"], mask: Bool[Array, "batch set"], train: bool
    ) -> EncoderFeatures:
        """Encode the elements."""
        features = ConvStack(self.style, self.filters, name="stack")(x, mask, train)
        if not self.style.maps:
            features = features.reshape(*features.shape[:-3], math.prod(features.shape[-3:]))
        projected = HiddenLayer(self.style, name="projection")(features, mask, train)
        both = EncoderFeatures(projected, features if self.raw_elements else projected)
        return jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), both)


class VectorEncoder(nn.Module):
    """Encoder of vectors: posteriors of elements see the vector itself, those of the set a residual network of it.

    Source: Edwards & Storkey 2017, arXiv:1606.02185, synthetic and spatial MNIST experiments.
    """

    style: BlockStyle

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch set 1 1 dim"], mask: Bool[Array, "batch set"], train: bool
    ) -> EncoderFeatures:
        """Encode the elements."""
        style, x = self.style, x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
        hidden = HiddenLayer(style, name="first")(x, mask, train)
        hidden = ResidualBlock(style, style.block_depth, name="block")(hidden, mask, train)
        hidden = Linear(style.hidden, initialization=style.initialization, name="last")(hidden)
        return EncoderFeatures(Normalization(style.normalization, name="normalization")(hidden, mask, train), x)
