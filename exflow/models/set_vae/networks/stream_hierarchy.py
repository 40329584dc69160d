"""The hierarchy of latents of SCHA-VAE on two residual streams of maps, one per set and one per element.

Source: Giannone & Winther 2022, arXiv:2110.12279, section 4.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool

from exflow.core.latents.trace import Latent, Level, Noise, TopDown
from exflow.models.bruno.conditioners import repeated, resolve_block_loop
from exflow.models.set_vae.networks.stream_layout import level_runs, resize_nearest
from exflow.models.set_vae.networks.stream_level import Given, Known, Streams, StreamStep


class StreamHierarchy(nn.Module):
    """Top-down pass of SCHA-VAE over levels of growing resolution.

    Levels of the same resolution have equal shapes, so their parameters are stacked along a leading axis: one step of a
    loop per level, or the same loop unrolled. The parameters are the same either way.

    Attributes:
      width: Channels of the streams.
      levels: Resolution of every level, coarse to fine.
      context_dim: Channels of every c.
      latent_dim: Channels of every z.
      aggregation: Of elements to a set in the posteriors of c: a kind of `SetAggregator`.
      latents_to_contexts: Feed the mean over the set of the element streams into p(c_l | ...), the edge z -> c of the
        published graph, which the original code leaves out.
      residual_posteriors: Posteriors are offsets from their priors.
      log_variance_bound: Of all Gaussians; 0: none.
      limit_level: Latents of levels from this one on are drawn and counted but do not enter the streams; 0: all do.
      level_loop: "scan", "unroll" or "auto", see `exflow.models.bruno.conditioners.resolve_block_loop`.
    """

    width: int
    levels: tuple[int, ...]
    context_dim: int
    latent_dim: int
    aggregation: str = "mean"
    latents_to_contexts: bool = False
    residual_posteriors: bool = False
    log_variance_bound: float = 0.0
    limit_level: int = 0
    level_loop: str = "auto"

    @nn.compact
    def __call__(
        self,
        noise: Noise,
        mask: Bool[Array, "batch set"],
        evidence: dict[int, Array] | None,
        contexts: tuple[Array, ...] | None = None,
        train: bool = False,
    ) -> TopDown:
        """Go down the levels; arguments as of `DirectHierarchy`, evidence being maps by resolution."""
        del train
        streams, levels = self._start(mask, jnp.result_type(*jax.tree.leaves((evidence, contexts)), jnp.float32)), []
        for resolution, run in level_runs(self.levels):
            streams = Streams(*(resize_nearest(stream, resolution) for stream in streams))
            known = _known((contexts or ())[run], run.stop - run.start)
            given = Given(noise, mask, None if evidence is None else evidence[resolution])
            streams, stacked = self._steps(resolution, run)(
                streams, jnp.arange(run.start, run.stop, dtype=jnp.uint32), known, given
            )
            levels += _unstacked(stacked, run.stop - run.start)
        for index, context in enumerate(contexts or ()):
            levels[index] = levels[index]._replace(context=Latent(context, None), attention=None)
        return TopDown(tuple(levels), streams.element, streams.context)

    @nn.nowrap
    def _start(self, mask: Array, dtype: jnp.dtype) -> Streams:
        """The streams before the first level; `dtype` is the least precise that the carry of a loop may have."""
        zeros = nn.initializers.zeros
        context = self.param("context_stream", zeros, (1, 1, self.width))[None]
        element = self.param("element_stream", zeros, (1, 1, self.width))[None, None]
        dtype = jnp.promote_types(dtype, context.dtype)
        return Streams(
            jnp.broadcast_to(context, (len(mask), *context.shape[1:])).astype(dtype),
            jnp.broadcast_to(element, (*mask.shape, *element.shape[2:])).astype(dtype),
        )

    @nn.nowrap
    def _steps(self, resolution: int, run: slice) -> nn.Module:
        number = run.stop - run.start
        in_axes = (0, 0, nn.broadcast)
        return repeated(StreamStep, number, resolve_block_loop(self.level_loop), remat=False, in_axes=in_axes)(
            width=self.width,
            resolution=resolution,
            context_dim=self.context_dim,
            latent_dim=self.latent_dim,
            scale=1 / math.sqrt(len(self.levels)),
            aggregation=self.aggregation,
            latents_to_contexts=self.latents_to_contexts,
            residual_posteriors=self.residual_posteriors,
            log_variance_bound=self.log_variance_bound,
            limit_level=self.limit_level,
            name=f"levels_{resolution}",
        )


def _known(contexts: tuple[Array, ...], number: int) -> Known | None:
    """The given latents of a run of levels, stacked, if any are; what is missing to `number` is zero."""
    if not contexts:
        return None
    missing = number - len(contexts)
    values = jnp.stack([*contexts, *missing * [jnp.zeros_like(contexts[0])]])
    return Known(values, jnp.arange(number) < len(contexts) if missing else None)


def _unstacked(stacked: Level, number: int) -> list[Level]:
    return [jax.tree.map(lambda leaf, at=at: leaf[at], stacked) for at in range(number)]
