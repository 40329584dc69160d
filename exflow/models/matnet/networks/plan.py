"""What a Matryoshka network is made of, read from the configuration before any module exists."""

import itertools
import math
from typing import NamedTuple

from ml_collections import ConfigDict

from exflow.errors import UserError

BLOCKS = ("residual", "projection", "gru")


class Style(NamedTuple):
    """How the layers of one chain of modules are made.

    Attributes:
      normalization: none | batch (running averages at evaluation) | batch_statistics (as published: always those of
        the batch) | weight.
      noise: Standard deviation of Gaussian noise in every normalisation, in training only.
      activation: A name of `exflow.models.matnet.networks.layers.ACTIVATIONS`.
      initialization: orthogonal (scale 1.1) | normal (standard deviation 0.02).
      compute_dtype: float32 | bfloat16_products (operands of the products of dense layers are rounded, sums are not) |
        bfloat16 (those of convolutions, too, whose sums are rounded).
    """

    normalization: str
    noise: float
    activation: str
    initialization: str
    compute_dtype: str = "float32"

    def linear(self) -> "Style":
        """The same without nonlinearity."""
        return self._replace(activation="identity")


class Resolution(NamedTuple):
    """Latent groups of one height and width; `size` 0 means vectors instead of maps."""

    size: int
    width: int  # channels or units
    groups: int
    block: str  # of BLOCKS

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a state at this level, without the batch."""
        return (self.size, self.size, self.width) if self.size else (self.width,)

    @property
    def taps(self) -> tuple[int, ...]:
        """Spatial shape of the kernels."""
        return (3, 3) if self.size else ()


class Plan(NamedTuple):
    """A whole network; levels from the top, which is the coarsest. The fields are keys of `config.model.matnet`."""

    levels: tuple[Resolution, ...]
    image_shape: tuple[int, int, int]
    num_outputs: int  # channels of what the likelihood takes
    top_latent_dim: int
    latent_dim: int
    top_hidden: int
    top_shortcuts: bool
    shortcut_encoder: tuple[int, ...]  # widths of its two layers; (): none
    entry_layers: int
    exit_layers: int
    entry_normalized: bool
    generator: Style
    inference: Style
    bottom_up: Style
    linear_blocks: bool  # within a level only the last top-down and the first bottom-up module are nonlinear
    stateful: bool
    difference: bool
    prior: str
    num_components: int  # of the top latent's prior; 0: standard
    num_standard_entries: int  # of the top latent, which are N(0, 1) in every component
    top_everywhere: bool  # the top latent enters the generator beside every group
    initial_scale: float
    scale_owner: str  # generator | inference | none
    summed_outputs: bool
    gain_of_outputs: bool
    remat: bool
    conditional: bool  # a second network of the form of inference sees the observed pixels; its laws are priors

    @property
    def num_groups(self) -> int:
        """Latent groups, the top one counted."""
        return 1 + sum(level.groups for level in self.levels)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of every group, top first, without the batch."""
        inner = (
            (level.size, level.size, self.latent_dim) if level.size else (self.latent_dim,)
            for level in self.levels
            for _ in range(level.groups)
        )
        return ((self.top_latent_dim,), *inner)

    def num_latents(self) -> int:
        """Numbers in all groups together."""
        return sum(math.prod(shape) for shape in self.latent_shapes())


def plan(
    options: ConfigDict, num_outputs: int, image_shape: tuple[int, int, int], compute_dtype: str = "float32"
) -> Plan:
    """Read section `model.matnet`.

    Args:
      options: The section.
      num_outputs: Channels that the likelihood takes.
      image_shape: Height, width and channels.
      compute_dtype: See `Style`.

    Raises:
      UserError: Levels that do not fit each other or the images.
    """
    levels = read_levels(options.levels, options.block)
    _check_sizes(levels, image_shape)

    def style(noise: float, activation: str) -> Style:
        return Style(options.normalization, noise, activation, options.initialization, compute_dtype)

    return Plan(
        levels=levels,
        image_shape=image_shape,
        num_outputs=num_outputs,
        top_latent_dim=options.top_latent_dim,
        latent_dim=options.latent_dim,
        top_hidden=options.top_hidden,
        top_shortcuts=options.top_shortcuts,
        shortcut_encoder=tuple(options.shortcut_encoder),
        entry_layers=options.entry_layers,
        exit_layers=options.exit_layers,
        entry_normalized=options.entry_normalized,
        generator=style(options.generator_noise, options.activation),
        inference=style(options.inference_noise, options.activation),
        bottom_up=style(options.inference_noise, options.bottom_up_activation or options.activation),
        linear_blocks=options.activation_pattern == "meta",
        stateful=options.merge_state,
        difference=options.merge_difference,
        prior=options.prior,
        num_components=options.num_components,
        num_standard_entries=options.num_standard_entries,
        top_everywhere=options.top_everywhere,
        initial_scale=options.initial_scale,
        scale_owner=options.scale_owner,
        summed_outputs=options.summed_outputs,
        gain_of_outputs=options.gain_of_outputs,
        remat=options.remat,
        conditional=bool(options.conditional),
    )


def read_levels(text: str, block: str) -> tuple[Resolution, ...]:
    """Read "size-width-groups[-block],..." from the top, or "width-groups" of a dense network.

    Args:
      text: The levels.
      block: Of levels that name none.

    Raises:
      UserError: The text has another form.
    """
    levels = []
    for part in text.split(","):
        words = part.strip().split("-")
        own = words.pop() if words[-1] in BLOCKS else block
        if len(words) not in (2, 3) or not all(word.isdigit() for word in words):
            raise UserError(
                f"config.model.matnet.levels: expected size-width-groups, such as 7-64-5,14-64-5,28-32-0, or "
                f"width-groups of a dense network, such as 512-7; got {part.strip()!r}."
            )
        numbers = [int(word) for word in words]
        size, width, groups = (0, *numbers) if len(numbers) == 2 else numbers
        levels.append(Resolution(size, width, groups, own))
    return tuple(levels)


def _check_sizes(levels: tuple[Resolution, ...], image_shape: tuple[int, int, int]) -> None:
    key = "config.model.matnet.levels"
    if any(not level.size for level in levels):
        if len(levels) > 1:
            raise UserError(f"{key}: a dense network has one level, got {len(levels)}. Write width-groups once.")
        return
    for above, below in itertools.pairwise(levels):
        if below.size != 2 * above.size:
            raise UserError(f"{key}: every size is twice the one above it, got {above.size}, then {below.size}.")
    if (levels[-1].size, levels[-1].size) != image_shape[:2]:
        raise UserError(
            f"{key}: the last size is that of the images, {image_shape[0]} x {image_shape[1]}, got {levels[-1].size}."
        )
