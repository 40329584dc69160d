"""The hierarchy of latents of SCHA-VAE on two residual streams of maps, one per set and one per element.

Source: Giannone & Winther 2022, arXiv:2110.12279, section 4.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool

from exflow.core.latents.trace import Latent, Level, Noise, TopDown
from exflow.models.set_vae.networks.stream_layout import level_runs, resize_nearest
from exflow.models.set_vae.networks.stream_level import GivenLatents, Streams, StreamStep
from exflow.nn.repeated import repeated, resolve_block_loop


class StreamHierarchy(nn.Module):
    """Top-down pass of SCHA-VAE over levels of growing resolution.

    Levels of the same resolution have equal shapes, so their parameters are stacked along a leading axis: one step of a
    loop per level, or the same loop unrolled. The parameters are the same either way.

    Attributes:
      width: Channels of the streams.
      levels: Resolution of every level, coarse to fine.
      set_latent_dim: Channels of every c.
      latent_dim: Channels of every z.
      aggregation: Of elements to a set in the posteriors of c: a kind of `SetAggregator`.
      examples_to_set_latents: Feed the mean over the set of the element streams into p(c_l | ...), the edge z -> c of
        the published graph, which the original code leaves out.
      residual_posteriors: Posteriors are offsets from their priors.
      log_variance_bound: Of all Gaussians; 0: none.
      level_loop: "scan", "unroll" or "auto", see `exflow.nn.repeated.resolve_block_loop`.
    """

    width: int
    levels: tuple[int, ...]
    set_latent_dim: int
    latent_dim: int
    aggregation: str = "mean"
    examples_to_set_latents: bool = False
    residual_posteriors: bool = False
    log_variance_bound: float = 0.0
    level_loop: str = "auto"

    @nn.compact
    def __call__(
        self,
        noise: Noise,
        mask: Bool[Array, "batch set"],
        features: dict[int, Array] | None,
        set_latents: tuple[Array, ...] | None = None,
        num_levels: int | None = None,
        train: bool = False,
    ) -> TopDown:
        """Go down the levels; arguments as of `DirectHierarchy`, features being maps by resolution.

        Latents below the upper `num_levels` are drawn and counted but do not enter the streams.
        """
        del train
        dtype = jnp.result_type(*jax.tree.leaves((features, set_latents)), jnp.float32)
        streams, levels = self._start(mask, dtype), []
        for resolution, run in level_runs(self.levels):
            streams = Streams(*(resize_nearest(stream, resolution) for stream in streams))
            indices = jnp.arange(run.start, run.stop, dtype=jnp.uint32)
            given = _stacked((set_latents or ())[run], len(indices))
            seen = None if features is None else features[resolution]
            steps = self._steps(resolution, len(indices), num_levels)
            streams, stacked = steps(streams, indices, given, noise, mask, seen)
            levels += _unstacked(stacked, len(indices))
        for index, value in enumerate(set_latents or ()):
            levels[index] = levels[index]._replace(set_latent=Latent(value, None), attention=None)
        return TopDown(tuple(levels), streams.of_examples, streams.of_set)

    @nn.nowrap
    def _start(self, mask: Array, dtype: jnp.dtype) -> Streams:
        """The streams before the first level; `dtype` is the least precise that the carry of a loop may have."""
        zeros = nn.initializers.zeros
        of_set = self.param("context_stream", zeros, (1, 1, self.width))[None]
        of_examples = self.param("element_stream", zeros, (1, 1, self.width))[None, None]
        dtype = jnp.promote_types(dtype, of_set.dtype)
        return Streams(
            jnp.broadcast_to(of_set, (len(mask), *of_set.shape[1:])).astype(dtype),
            jnp.broadcast_to(of_examples, (*mask.shape, *of_examples.shape[2:])).astype(dtype),
        )

    @nn.nowrap
    def _steps(self, resolution: int, number: int, num_levels: int | None) -> nn.Module:
        in_axes = (0, 0, nn.broadcast, nn.broadcast, nn.broadcast)
        return repeated(StreamStep, number, resolve_block_loop(self.level_loop), remat=False, in_axes=in_axes)(
            width=self.width,
            resolution=resolution,
            set_latent_dim=self.set_latent_dim,
            latent_dim=self.latent_dim,
            scale=1 / math.sqrt(len(self.levels)),
            aggregation=self.aggregation,
            examples_to_set_latents=self.examples_to_set_latents,
            residual_posteriors=self.residual_posteriors,
            log_variance_bound=self.log_variance_bound,
            limit=num_levels,
            name=f"levels_{resolution}",
        )


def _unstacked(stacked: Level, number: int) -> list[Level]:
    """Levels one by one; their gradients are stacked, where those of indexing would be padded and added."""
    leaves, structure = jax.tree.flatten(stacked)
    each = [jnp.unstack(leaf) for leaf in leaves]
    return [structure.unflatten([parts[at] for parts in each]) for at in range(number)]


def _stacked(set_latents: tuple[Array, ...], number: int) -> GivenLatents | None:
    """The given latents of a run of levels, if any are; what is missing to `number` is zero."""
    if not set_latents:
        return None
    missing = number - len(set_latents)
    values = jnp.stack([*set_latents, *missing * [jnp.zeros_like(set_latents[0])]])
    return GivenLatents(values, jnp.arange(number) < len(set_latents) if missing else None)
