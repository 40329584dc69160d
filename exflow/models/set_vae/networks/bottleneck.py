"""The block that all networks of SCHA-VAE are made of: a bottleneck of four convolutions without normalisation.

Sources: Giannone & Winther 2022, arXiv:2110.12279, section 4; Child 2021, arXiv:2011.10650.
"""

from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float

from exflow.models.set_vae.networks.stream_layout import BlockRun
from exflow.nn.activations import gelu
from exflow.nn.layers import Linear
from exflow.nn.repeated import repeated, resolve_block_loop


def conv(
    features: int, size: int = 1, scale: float = 1.0, name: str | None = None, compute_dtype: Any = None
) -> Linear:
    """A convolution of size 1x1 or 3x3 with zero biases, its initial kernel times `scale`."""
    kernel_shape, initialization = (3, 3) if size == 3 else (), "uniform_fan_in_zero_bias"
    options = {"initialization": initialization, "kernel_scale": scale, "compute_dtype": compute_dtype}
    return Linear(features, kernel_shape, name=name, **options)


class Bottleneck(nn.Module):
    """GELU and convolution four times: 1x1 to a quarter of the width, two 3x3 (1x1 on small maps), 1x1; + x.

    Attributes:
      width: Of the model; the bottleneck has a quarter of it.
      features: Channels of the output.
      resolution: Label of the block: at 2 and below all convolutions are 1x1.
      residual: Add the input.
      scale: Factor on the initial kernel of the last convolution; 0 starts with zero output.
      compute_dtype: Of the convolutions; input and output, and with them the streams, keep the type of the input.
    """

    width: int
    features: int
    resolution: int
    residual: bool = False
    scale: float = 1.0
    compute_dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "... height width num_in"]) -> Float[Array, "... height width num_out"]:
        """Apply the block."""
        middle, size, dtype = self.width // 4, 3 if self.resolution > 2 else 1, self.compute_dtype
        hidden = conv(middle, compute_dtype=dtype)(gelu(x))
        hidden = conv(middle, size, compute_dtype=dtype)(gelu(hidden))
        hidden = conv(middle, size, compute_dtype=dtype)(gelu(hidden))
        hidden = conv(self.features, scale=self.scale, compute_dtype=dtype)(gelu(hidden))
        hidden = hidden if dtype is None else hidden.astype(x.dtype)
        return x + hidden if self.residual else hidden


def residual_run(
    x: Float[Array, "... height width channels"],
    run: BlockRun,
    scale: float,
    block_loop: str,
    compute_dtype: Any = None,
) -> Float[Array, "... height width channels"]:
    """Apply a run of residual blocks of the width of x, inside a compact module.

    Args:
      x: Maps of height and width `run.size`.
      run: Says how many; nothing is resized here.
      scale: See `Bottleneck`.
      block_loop: "auto", "scan" or "unroll"; the parameters are stacked along a leading axis either way.
      compute_dtype: See `Bottleneck`.
    """
    width, name = x.shape[-1], f"blocks_{run.size}_to_{run.resolution}"
    block = Bottleneck(width, width, run.resolution, True, scale, compute_dtype, name=name)
    x, _ = repeated(_step, run.number, resolve_block_loop(block_loop), remat=False)(block, x, None)
    return x


def _step(block: Bottleneck, x: Array, _: None) -> tuple[Array, None]:
    return block(x), None
