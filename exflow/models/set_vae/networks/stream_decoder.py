"""The decoder of SCHA-VAE: from the two residual streams to the parameters of the likelihood.

Source: Giannone & Winther 2022, arXiv:2110.12279, section 4.
"""

import math
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Bool, Float

from exflow.models.set_vae.networks.bottleneck import conv, residual_run
from exflow.models.set_vae.networks.stream_layout import block_runs, resize_nearest

SET_STREAMS = ("corner", "mean", "map")


class StreamDecoder(nn.Module):
    """Residual blocks at growing resolution.

    Attributes:
      width: Channels of the streams.
      blocks: Resolution of every block, coarse to fine.
      image_size: Height and width of the images.
      num_outputs: Parameters per pixel.
      set_stream: What enters of the stream of the set: "corner", its top-left pixel, as in the original code, whose
        resize to one pixel is by nearest neighbour; "mean" over all pixels; or the whole "map".
      block_loop: Loop over equal blocks, see `exflow.nn.repeated.repeated`.
      compute_dtype: See `Bottleneck`.
    """

    width: int
    blocks: tuple[int, ...]
    image_size: int
    num_outputs: int
    set_stream: str = "corner"
    block_loop: str = "auto"
    compute_dtype: Any = None

    @nn.compact
    def __call__(
        self,
        example_inputs: Float[Array, "batch set size size channels"],
        set_inputs: Float[Array, "batch size size channels"],
        mask: Bool[Array, "batch set"],
        train: bool,
    ) -> Float[Array, "batch set height width outputs"]:
        """Parameters of the likelihood of every element."""
        del mask, train
        if self.set_stream not in SET_STREAMS:
            raise ValueError(f"set_stream: expected one of {SET_STREAMS}, got {self.set_stream!r}.")
        seen = {
            "corner": lambda: set_inputs[:, :1, :1],
            "mean": lambda: set_inputs.mean(axis=(1, 2), keepdims=True),
            "map": lambda: set_inputs,
        }[self.set_stream]()
        scale = 1 / math.sqrt(len(self.blocks))
        x = conv(self.width, 3, name="element")(example_inputs)
        x = x + conv(self.width, 3, name="context")(seen)[:, None]
        for run in block_runs(self.blocks, x.shape[-2]):
            x = residual_run(x, run, scale, self.block_loop, self.compute_dtype)
            x = resize_nearest(x, run.resolution)
        x = resize_nearest(x, self.image_size)
        return conv(self.num_outputs, scale=scale, name="output")(x)
