"""A Matryoshka network: generator and inference network, run down the hierarchy side by side."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from exflow.core.latents.diagonal_gaussian import DiagonalGaussian, from_moments
from exflow.core.latents.gaussian_mixture import GaussianMixture
from exflow.core.latents.trace import Latent
from exflow.models.matnet.networks.generator import Generator
from exflow.models.matnet.networks.inference import Inference
from exflow.models.matnet.networks.layers import Mode
from exflow.models.matnet.networks.observed import Observed, Seen
from exflow.models.matnet.networks.plan import Plan

Law = DiagonalGaussian | GaussianMixture
Draw = Callable[[Law, Array | int], Array]  # (law of a group, its number from the top) -> values
Outputs = Float[Array, "batch height width outputs"]


class States(NamedTuple):
    """What goes down the hierarchy."""

    h: Float[Array, "batch ..."]  # of the generator
    s: Float[Array, "batch ..."] | None  # of the merging modules of the inference network
    r: Float[Array, "batch ..."] | None  # of those of the prior network
    outputs: Outputs | None  # summed so far, where every recurrent step adds to them


class MatNet(nn.Module):
    """The whole network; its parameters are {"generator": ..., "inference": ...}.

    A conditional one has a "prior" network besides, of the form of the inference network, which sees the observed
    pixels of an image and gives the priors of all groups. The top-down chain is one. Its images have their mask as one
    channel more, see `exflow.core.likelihoods.hidden_pixels`.
    """

    plan: Plan

    def setup(self) -> None:
        """Create the networks."""
        self.generator = Generator(self.plan)
        self.inference = Inference(self.plan)
        if self.plan.conditional:
            self.prior = Inference(self.plan._replace(scale_owner="none"))  # there is one scale
            self.observed = Observed()

    def __call__(
        self, x: Float[Array, "batch height width channels"], draw: Draw, mode: Mode, given: tuple[Array, ...] = ()
    ) -> tuple[tuple[Latent, ...], Outputs]:
        """Infer the latents of images but for those given, and decode them."""
        return self.top_down(draw, self.encode(x, mode), x.shape[0], given, None, mode)

    def encode(self, x: Float[Array, "batch height width channels"], mode: Mode) -> Seen:
        """What inference sees of images, and the priors of a conditional network of what is observed of them."""
        if not self.plan.conditional:
            return Seen(self.inference.encode(x, mode))
        observed, everything = self.observed(x)
        return Seen(self.inference.encode(everything, mode), self.prior.encode(observed, mode))

    def encode_observed(self, x: Float[Array, "batch height width channels"], mode: Mode) -> Seen:
        """Of a conditional network: what the priors see of images; latents will be drawn from them."""
        return Seen(None, self.prior.encode(self.observed(x)[0], mode))

    def top_down(
        self,
        draw: Draw,
        features: Seen | None,
        batch: int,
        given: tuple[Array, ...],
        num_groups: int | None,
        mode: Mode,
    ) -> tuple[tuple[Latent, ...], Outputs]:
        """A pass down the hierarchy.

        Args:
          draw: Values of a latent group.
          features: Of images, for posteriors and conditional priors; None draws from unconditional priors.
          batch: Number of images.
          given: Values of the first groups from the top, which are then not drawn.
          num_groups: Groups, from the top, that are drawn or given; those below have the means of their priors. None:
            all.
          mode: Of normalisation and noise.

        Returns:
          Every group, top first, and outputs for the likelihood.
        """
        scale = self._scale()
        pick = _Picker(draw, num_groups)
        seen = Seen(None) if features is None else features
        q = None if seen.posterior is None else _scaled(scale, self.inference.top(seen.posterior, mode))
        p = self.generator.top_prior(batch) if seen.prior is None else _scaled(scale, self.prior.top(seen.prior, mode))
        top = pick.latent(p, q, 0, *_fixed(given, 0))
        states = States(
            self.generator.first(top.value, mode),
            None if seen.posterior is None else self.inference.first(top.value, mode),
            None if seen.prior is None else self.prior.first(top.value, mode),
            None,
        )
        pick = pick._replace(beside=top.value if self.plan.top_everywhere else None)
        way, latents, number = _Way(seen, scale, pick, given, mode), [top], 1
        for index, level in enumerate(self.plan.levels):
            h = self.generator.enter(index, states.h, mode)
            s = states.s if seen.posterior is None else self.inference.enter(index, states.s, mode)
            r = states.r if seen.prior is None else self.prior.enter(index, states.r, mode)
            states = States(h, s, r, None)
            run = self._recurrent if level.block == "gru" and level.groups else self._groups
            states, found = run(way, states, index, number)
            latents += found
            number += level.groups
        outputs = self.generator.decode(states.h, mode) if states.outputs is None else states.outputs
        return tuple(latents), outputs

    def _scale(self) -> Array | float:
        """The one factor on the means and log-variances of all groups."""
        owners = {"generator": self.generator, "inference": self.inference}
        owner = owners.get(self.plan.scale_owner)
        return self.plan.initial_scale if owner is None else owner.dist_scale

    def _groups(self, way: "_Way", states: States, index: int, number: int) -> tuple[States, list[Latent]]:
        """The groups of a level one after the other, each with modules of its own; the first has this number."""
        found = []
        for group in range(self.plan.levels[index].groups):

            def step(module: "MatNet", states: States, seen: Seen, group: int = group) -> tuple[States, Latent]:
                fixed = _fixed(way.given, number + group)
                return module.one_group(way._replace(seen=seen), states, index, group, number + group, fixed)

            step = nn.remat(step) if self.plan.remat else step
            states, latent = step(self, states, way.seen)
            found.append(latent)
        return states, found

    def _recurrent(self, way: "_Way", states: States, index: int, number: int) -> tuple[States, list[Latent]]:
        """The groups of a level as a loop over one set of modules."""
        groups = self.plan.levels[index].groups
        summed = self.plan.summed_outputs and index == len(self.plan.levels) - 1
        shape = (states.h.shape[0], *self.plan.image_shape[:2], self.plan.num_outputs)
        states = states._replace(outputs=jnp.zeros(shape, states.h.dtype) if summed else None)

        own = way.given[number : number + groups]
        values = jnp.stack([*own, *(jnp.zeros_like(own[0]) for _ in range(groups - len(own)))]) if own else None

        def step(module: "MatNet", states: States, inputs: tuple[Array, Array | None]) -> tuple[States, Latent]:
            group, value = inputs
            fixed = value, False if value is None else group < len(own)
            states, latent = module.one_group(way, states, index, 0, number + group, fixed)
            if states.outputs is not None:
                states = states._replace(outputs=states.outputs + module.generator.decode(states.h, way.mode))
            return states, latent

        if self.is_initializing():  # a loop cannot create running averages
            states, latent = step(self, states, (jnp.zeros((), jnp.int32), None))
            return states, [latent] * groups
        learns = self.is_mutable_collection("batch_stats")  # what a loop carries has to be mutable
        loop = nn.scan(
            nn.remat(step) if self.plan.remat else step,
            variable_broadcast="params" if learns else ("params", "batch_stats"),
            variable_carry="batch_stats" if learns else False,
            split_rngs={"params": False, "noise": True},
            length=groups,
        )
        states, stacked = loop(self, states, (jnp.arange(groups), values))
        return states, [jax.tree.map(lambda leaf, g=group: leaf[g], stacked) for group in range(groups)]

    def one_group(
        self,
        way: "_Way",
        states: States,
        index: int,
        group: int,
        number: int | Array,
        fixed: tuple[Array | None, Array | bool],
    ) -> tuple[States, Latent]:
        """One latent group: its prior, its posterior, its values, and the states below it."""
        seen, scale, mode = way.seen, way.scale, way.mode
        h, s, r, q = states.h, states.s, states.r, None
        if seen.prior is None:
            p = self.generator.prior(index, group, h, scale, mode)
        else:
            moments, r = self.prior.merge(index, group, h, seen.prior, r, mode)
            p = _scaled(scale, moments)
        if seen.posterior is not None:
            moments, s = self.inference.merge(index, group, h, seen.posterior, s, mode)
            q = _scaled(scale, moments)
        latent = way.pick.latent(p, q, number, *fixed)
        z = latent.value if way.pick.beside is None else _with_beside(latent.value, way.pick.beside)
        return states._replace(h=self.generator.step(index, group, h, z, mode), s=s, r=r), latent


class _Picker(NamedTuple):
    """Where the values of groups come from."""

    draw: Draw
    num_drawn: int | None
    beside: Array | None = None  # of every group, what enters the generator with it

    def latent(
        self,
        p: Law,
        q: DiagonalGaussian | None,
        number: int | Array,
        fixed: Array | None,
        is_fixed: Array | bool,
    ) -> Latent:
        """A group with its values: given, the mean of its prior, or drawn."""
        law = p if q is None else q
        idle = False if self.num_drawn is None else number >= self.num_drawn
        value = _choose(
            is_fixed,
            lambda: fixed,
            lambda: _choose(idle, lambda: _mean(p, law), lambda: self.draw(law, number)),
        )
        return Latent(value, p, q)


class _Way(NamedTuple):
    """What is the same for all groups on the way down."""

    seen: Seen
    scale: Array | float  # see `MatNet._scale`
    pick: _Picker
    given: tuple[Array, ...]  # values of the first groups
    mode: Mode


def _mean(p: Law, law: Law) -> Array:
    assert isinstance(p, DiagonalGaussian)  # the top group is always drawn or given
    assert isinstance(law, DiagonalGaussian)
    return jnp.broadcast_to(p.mean, law.mean.shape)


def _with_beside(z: Float[Array, "batch ... latent"], top: Float[Array, "batch top"]) -> Float[Array, "batch ... both"]:
    """A group with the top latent at every position."""
    spread = top.reshape(top.shape[0], *(1,) * (z.ndim - 2), top.shape[-1])
    return jnp.concatenate([z, jnp.broadcast_to(spread, (*z.shape[:-1], top.shape[-1]))], axis=-1)


def _fixed(given: tuple[Array, ...], number: int) -> tuple[Array | None, bool]:
    """The given values of a group, and whether there are any."""
    return (given[number], True) if number < len(given) else (None, False)


def _choose(condition: Array | bool, yes: Callable[[], Any], no: Callable[[], Any]) -> Array:
    if isinstance(condition, bool):
        return yes() if condition else no()
    return jnp.where(condition, yes(), no())


def _scaled(scale: Array | float, moments: Float[Array, "batch ... twice"]) -> DiagonalGaussian:
    return from_moments(scale * moments)
