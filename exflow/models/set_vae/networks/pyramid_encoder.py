"""The encoder of SCHA-VAE: maps of every element from fine to coarse.

Source: Giannone & Winther 2022, arXiv:2110.12279, section 4.
"""

import math
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Bool, Float

from exflow.models.set_vae.networks.bottleneck import conv, residual_run
from exflow.models.set_vae.networks.stream_layout import PYRAMID_SIZE, block_runs, mean_pool, resize_nearest


class PyramidEncoder(nn.Module):
    """Maps of every element at the resolutions that levels read.

    Residual blocks, with a mean over 2x2 pixels after the first block of each lower resolution, which still works at
    the resolution above.

    Attributes:
      width: Channels.
      blocks: Resolution of every block, from fine to coarse.
      resolutions: Of the maps to return; others are not kept.
      block_loop: Loop over equal blocks, see `exflow.nn.repeated.repeated`.
      compute_dtype: See `Bottleneck`.
    """

    width: int
    blocks: tuple[int, ...]
    resolutions: tuple[int, ...]
    block_loop: str = "auto"
    compute_dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch set height width channels"], mask: Bool[Array, "batch set"], train: bool
    ) -> dict[int, Array]:
        """Maps `[batch, set, r, r, width]` by resolution r."""
        del mask, train
        x = conv(self.width, 3, name="input")(resize_nearest(x, PYRAMID_SIZE))
        maps, scale = {}, 1 / math.sqrt(len(self.blocks))
        for run in block_runs(self.blocks, PYRAMID_SIZE):
            x = mean_pool(residual_run(x, run, scale, self.block_loop, self.compute_dtype), run.resolution)
            maps[run.resolution] = x
        return {resolution: kept for resolution, kept in maps.items() if resolution in self.resolutions}
