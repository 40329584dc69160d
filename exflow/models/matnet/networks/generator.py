"""The top-down chain, which generation and inference share: latents to the outputs of the decoder."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.core.latents import gaussian_mixture
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian, from_moments, standard
from exflow.core.latents.gaussian_mixture import GaussianMixture
from exflow.models.matnet.networks.blocks import FromTop, Projection
from exflow.models.matnet.networks.layers import Bias, Map, Mode, Plain
from exflow.models.matnet.networks.plan import Plan, Resolution
from exflow.models.matnet.networks.top_down_blocks import TOP_DOWN_BLOCKS

State = Float[Array, "batch ..."]


class Generator(nn.Module):
    """Modules of the top-down chain, and priors of the latent groups."""

    plan: Plan

    def setup(self) -> None:
        """Create the modules in the order in which they are used."""
        plan, style = self.plan, self.plan.generator
        levels = plan.levels
        if plan.num_components:
            self.mixture = self.param("mixture", gaussian_mixture.init, plan.num_components, plan.top_latent_dim)
        self.top = FromTop(levels[0].shape, plan.top_hidden, plan.top_shortcuts, style)
        passes, blocks, priors, ups = [], [], [], []
        for number, level in enumerate(levels):
            projected = level.block == "projection" and level.taps
            following = levels[number + 1].width if number + 1 < len(levels) else level.width
            is_pass = bool(projected and level.groups)
            passes.append(Projection(level.width, style, level.taps, name=f"pass{number}") if is_pass else None)
            own, own_priors = [], []
            for group in range(1 if level.block == "gru" and level.groups else level.groups):
                linear = plan.linear_blocks and group < level.groups - 1
                make = TOP_DOWN_BLOCKS[level.block]
                width = following if projected else level.width
                block_style = style.linear() if linear else style
                own.append(make(width, block_style, level.taps, name=f"block{number}_{group}"))
                own_priors.append(self._prior(level, f"prior{number}_{group}"))
            blocks.append(tuple(own))
            priors.append(tuple(own_priors))
            if number + 1 < len(levels) and not projected:
                ups.append(Plain(following, style, level.taps, "up", name=f"up{number + 1}"))
            else:
                ups.append(None)
        self.passes, self.blocks, self.priors, self.ups = tuple(passes), tuple(blocks), tuple(priors), tuple(ups)
        finest = levels[-1]
        self.exit = tuple(
            Plain(finest.width, style, finest.taps, name=f"exit{number}") for number in range(plan.exit_layers)
        )
        height, width, _ = plan.image_shape
        outputs = plan.num_outputs if finest.taps else height * width * plan.num_outputs
        self.outputs = Map(outputs, style, finest.taps, gain=plan.gain_of_outputs)
        self.output_bias = Bias()
        if plan.scale_owner == "generator":
            self.dist_scale = self.param("dist_scale", nn.initializers.constant(plan.initial_scale), ())

    def _prior(self, level: Resolution, name: str) -> Any:
        """The modules of the prior of a group given the state above it; None: standard."""
        plan, style, dim = self.plan, self.plan.generator, self.plan.latent_dim
        if plan.prior == "standard":
            return None
        if plan.prior == "mean":
            hidden = Plain(level.width, style, level.taps, name=f"{name}_hidden")
            return hidden, Map(dim, style, level.taps, name=name), Bias(name=f"{name}_bias")
        return None, Map(2 * dim, style, level.taps, name=name), Bias(name=f"{name}_bias")

    def top_prior(self, batch: int) -> DiagonalGaussian | GaussianMixture:
        """Prior of the top latent; the scale is no part of a mixture."""
        plan = self.plan
        if plan.num_components:
            return gaussian_mixture.with_standard(GaussianMixture(*self.mixture), plan.num_standard_entries)
        return standard((batch, plan.top_latent_dim))

    def prior(self, level: int, group: int, h: State, scale: Array | float, mode: Mode) -> DiagonalGaussian:
        """Prior of a group, N(scale m, exp(scale v)), with v = 0 where only the mean depends on the state."""
        plan = self.plan
        made = self.priors[level][min(group, len(self.priors[level]) - 1)]
        if made is None:
            return standard((*h.shape[:-1], plan.latent_dim))
        hidden, head, bias = made
        moments = scale * bias(head(h if hidden is None else hidden(mode, h)))
        return DiagonalGaussian(moments, jnp.zeros_like(moments)) if plan.prior == "mean" else from_moments(moments)

    def first(self, z: Float[Array, "batch top"], mode: Mode) -> State:
        """The state below the top latent."""
        return self.top(z, mode)

    def enter(self, level: int, h: State, mode: Mode) -> State:
        """Into a level from the one above, and through its module without a latent if it has one."""
        up = self.ups[level - 1] if level else None
        h = h if up is None else up(mode, h)
        return h if self.passes[level] is None else self.passes[level](mode, h)

    def step(self, level: int, group: int, h: State, z: Array, mode: Mode) -> State:
        """The state after a latent group has entered."""
        blocks = self.blocks[level]
        return blocks[min(group, len(blocks) - 1)](h, z, mode)

    def decode(self, h: State, mode: Mode) -> Float[Array, "batch height width outputs"]:
        """Outputs for the likelihood from a state of the finest level."""
        for layer in self.exit:
            h = layer(mode, h)
        out = self.output_bias(self.outputs(h))
        return out.reshape(-1, *self.plan.image_shape[:2], self.plan.num_outputs)
