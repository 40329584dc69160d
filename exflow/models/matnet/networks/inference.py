"""The inference network: the bottom-up chain, the top posterior, and the merging modules of all groups."""

from flax import linen as nn
from jaxtyping import Array, Float

from exflow.models.matnet.networks.blocks import FromTop, ToTop
from exflow.models.matnet.networks.bottom_up import BottomUp, Features
from exflow.models.matnet.networks.layers import Mode, Plain
from exflow.models.matnet.networks.merge import MERGES, StatelessMerge
from exflow.models.matnet.networks.plan import Plan

State = Float[Array, "batch ..."]


class Inference(nn.Module):
    """Modules that only inference has."""

    plan: Plan

    def setup(self) -> None:
        """Create the modules in the order in which they are used."""
        plan, style = self.plan, self.plan.inference
        levels = plan.levels
        self.bottom_up = BottomUp(plan)
        self.to_top = ToTop(2 * plan.top_latent_dim, plan.top_hidden, plan.top_shortcuts, style)
        merging = any(level.groups for level in levels)
        self.first_state = (
            FromTop(levels[0].shape, plan.top_hidden, plan.top_shortcuts, style) if plan.stateful and merging else None
        )
        merges, ups = [], []
        for number, level in enumerate(levels):
            make = MERGES[level.block] if plan.stateful else StatelessMerge
            count = 1 if level.block == "gru" and level.groups else level.groups
            merges.append(
                tuple(
                    make(2 * plan.latent_dim, style, level.taps, plan.difference, name=f"merge{number}_{group}")
                    for group in range(count)
                )
            )
            ups.append(
                Plain(level.width, style, level.taps, "up", name=f"up{number}")
                if number and level.groups and plan.stateful
                else None
            )
        self.merges, self.ups = tuple(merges), tuple(ups)
        if plan.scale_owner == "inference":
            self.dist_scale = self.param("dist_scale", nn.initializers.constant(plan.initial_scale), ())

    def encode(self, x: Float[Array, "batch height width channels"], mode: Mode) -> Features:
        """Features of images."""
        return self.bottom_up(x, mode)

    def top(self, features: Features, mode: Mode) -> Float[Array, "batch moments"]:
        """Moments of the top posterior before the scale."""
        return self.to_top(features.top, mode)

    def first(self, z: Float[Array, "batch top"], mode: Mode) -> State | None:
        """The merging state below the top latent; None without states."""
        return None if self.first_state is None else self.first_state(z, mode)

    def enter(self, level: int, s: State | None, mode: Mode) -> State | None:
        """The merging state in a level, from that of the level above."""
        up = self.ups[level]
        return s if up is None or s is None else up(mode, s)

    def merge(
        self, level: int, group: int, h: State, features: Features, s: State | None, mode: Mode
    ) -> tuple[Float[Array, "batch ... moments"], State | None]:
        """Moments of a group's posterior before the scale, and the next merging state."""
        merges, seen = self.merges[level], features.groups[level]
        own: Array = seen[min(group, len(seen) - 1)]
        return merges[min(group, len(merges) - 1)](h, own, s, mode)
