"""The bottom-up chain: an image to the features that each latent group sees of it."""

import math
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.models.matnet.networks.blocks import BottomUpResidual, Projection
from exflow.models.matnet.networks.layers import Bias, Map, Mode, Plain
from exflow.models.matnet.networks.plan import Plan, Resolution, Style
from exflow.models.matnet.networks.top_down_blocks import GruBlock


class Features(NamedTuple):
    """What inference sees of images, levels from the top."""

    top: Float[Array, "batch ..."]
    groups: tuple[tuple[Float[Array, "batch ..."], ...], ...]  # of every level: of every group, or one for all of them


class BottomUp(nn.Module):
    """Layers into the finest level, then modules and a layer into the next coarser level, up to the top.

    Within a level of residual blocks group k, counted from the top, sees the input of module k, which module k + 1 or,
    for the last group, the layer into the level put out: so the output of module 0 only goes on to the next level.
    Levels of projections see the output of module k, those of recurrent blocks one feature for all groups.
    """

    plan: Plan

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"], mode: Mode) -> Features:
        """Features of images."""
        plan, style = self.plan, self.plan.bottom_up
        levels = plan.levels
        finest = levels[-1]
        u = x if finest.size else _flat(x)
        u = Plain(finest.width, style, finest.taps, scaled=plan.entry_normalized, name="entry")(mode, u)
        for number in range(plan.entry_layers):
            u = Plain(finest.width, style, finest.taps, name=f"entry{number + 1}")(mode, u)
        found: list[tuple[Array, ...]] = []
        for number in range(len(levels) - 1, -1, -1):
            level = levels[number]
            if number < len(levels) - 1:
                u = self._down(u, level, f"down{number}", mode)
            u, groups = self._level(u, level, f"level{number}", mode)
            found.append(groups)
        shortcut = self._shortcut(x, mode)
        if shortcut is None:
            return Features(u, tuple(found[::-1]))
        with_shortcut = (tuple(jnp.concatenate([b, shortcut], axis=-1) for b in groups) for groups in found[::-1])
        return Features(jnp.concatenate([u, shortcut], axis=-1), tuple(with_shortcut))

    def _down(self, u: Array, level: Resolution, name: str, mode: Mode) -> Array:
        """The layer into a coarser level."""
        style = self.plan.bottom_up
        if level.block == "projection":
            return Projection(level.width, style, level.taps, "down", name=name)(mode, u)
        return Plain(level.width, style, level.taps, "down", name=name)(mode, u)

    def _level(self, u: Array, level: Resolution, name: str, mode: Mode) -> tuple[Array, tuple[Array, ...]]:
        """The output of a level's modules, and what its groups see, from the top."""
        style, width, taps, seen = self.plan.bottom_up, level.width, level.taps, []
        if level.block == "gru" and level.groups:
            if taps:
                u = Plain(width, style, taps, name=f"{name}_features")(mode, u)
            else:
                block, inputs = GruBlock(width, self.plan.inference, taps, name=f"{name}_features"), u
                for _ in range(level.groups):
                    u = block(u, inputs, mode)
            return u, (u,)
        for number in range(level.groups - 1, -1, -1):
            own = self.module_style(style, number == 0)
            if level.block == "projection":
                make = Projection if taps else Plain
                u = make(width, own, taps, name=f"{name}_{number}")(mode, u)
                seen.append(u)
            else:
                seen.append(u)
                u = BottomUpResidual(width, own, taps, name=f"{name}_{number}")(mode, u)
        return u, tuple(seen[::-1])

    def module_style(self, style: Style, nonlinear: bool) -> Style:
        """The style of a module that stays nonlinear, or need not."""
        return style if nonlinear or not self.plan.linear_blocks else style.linear()

    def _shortcut(self, x: Array, mode: Mode) -> Array | None:
        """A network beside the chain, whose output every feature has behind it."""
        if not self.plan.shortcut_encoder:
            return None
        hidden, width = self.plan.shortcut_encoder
        style = self.plan.bottom_up
        u = Plain(hidden, style, name="shortcut")(mode, _flat(x))
        return Bias(name="shortcut_bias")(Map(width, style, name="shortcut_out")(u))


def _flat(x: Array) -> Array:
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))  # there may be no image
