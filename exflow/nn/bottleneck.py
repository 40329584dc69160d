"""The block that all networks of SCHA-VAE are made of: a bottleneck of four convolutions without normalisation.

Sources: Giannone & Winther 2022, arXiv:2110.12279, section 4; Child 2021, arXiv:2011.10650.
"""

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.nn.layers import Linear
from exflow.nn.resnet import repeated, resolve_block_loop
from exflow.nn.stream_layout import BlockRun


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x Phi(x), exact."""
    return jax.nn.gelu(x, approximate=False)


def conv(features: int, size: int = 1, scale: float = 1.0, name: str | None = None) -> Linear:
    """A convolution of size 1x1 or 3x3 with zero biases, its initial kernel times `scale`."""
    return Linear(
        features, (3, 3) if size == 3 else (), initialization="uniform_fan_in_zero_bias", kernel_scale=scale, name=name
    )


class Bottleneck(nn.Module):
    """GELU and convolution four times: 1x1 to a quarter of the width, two 3x3 (1x1 on small maps), 1x1; + x.

    Attributes:
      width: Of the model; the bottleneck has a quarter of it.
      features: Channels of the output.
      resolution: Label of the block: at 2 and below all convolutions are 1x1.
      residual: Add the input.
      scale: Factor on the initial kernel of the last convolution; 0 starts with zero output.
    """

    width: int
    features: int
    resolution: int
    residual: bool = False
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "... height width num_in"]) -> Float[Array, "... height width num_out"]:
        """Apply the block."""
        middle, size = self.width // 4, 3 if self.resolution > 2 else 1
        hidden = conv(middle)(gelu(x))
        hidden = conv(middle, size)(gelu(hidden))
        hidden = conv(middle, size)(gelu(hidden))
        hidden = conv(self.features, scale=self.scale)(gelu(hidden))
        return x + hidden if self.residual else hidden


def residual_run(
    x: Float[Array, "... height width channels"], run: BlockRun, scale: float, block_loop: str
) -> Float[Array, "... height width channels"]:
    """Apply a run of residual blocks of the width of x, inside a compact module.

    Args:
      x: Maps of height and width `run.size`.
      run: Says how many; nothing is resized here.
      scale: See `Bottleneck`.
      block_loop: "auto", "scan" or "unroll"; the parameters are stacked along a leading axis either way.
    """
    width, name = x.shape[-1], f"blocks_{run.size}_to_{run.resolution}"
    block = Bottleneck(width, width, run.resolution, residual=True, scale=scale, name=name)
    x, _ = repeated(_step, run.number, resolve_block_loop(block_loop), remat=False)(block, x, None)
    return x


def _step(block: Bottleneck, x: Array, _: None) -> tuple[Array, None]:
    return block(x), None
