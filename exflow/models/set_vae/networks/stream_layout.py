"""Which blocks work at which resolution, from text such as "32-9,16-6,8-6", and resizing between resolutions.

Runs of equal blocks are what can be computed by a loop with stacked parameters. Source: Child 2021, arXiv:2011.10650.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

PYRAMID_SIZE = 32  # height and width at which the encoder begins and the decoder ends
RESOLUTIONS = (32, 16, 8, 4, 2, 1)


class BlockRun(NamedTuple):
    """Equal blocks that follow each other."""

    size: int  # height and width of the maps they work on
    resolution: int  # their label, to which the maps are resized behind them
    number: int


def parse_groups(text: str) -> tuple[tuple[int, int], ...]:
    """Resolutions and numbers of blocks from text such as "32-9,16-6,8-6".

    Raises:
      ValueError: Not of that form, not powers of two up to 32, or not from fine to coarse.
    """
    try:
        groups = tuple((int(resolution), int(number)) for resolution, number in (g.split("-") for g in text.split(",")))
    except ValueError:
        groups = ()
    if not groups or any(number < 1 for _, number in groups):
        raise ValueError(f"groups: expected resolution-number pairs such as '8-6,4-6,1-3', got {text!r}.")
    resolutions = [resolution for resolution, _ in groups]
    if not set(resolutions) <= set(RESOLUTIONS) or sorted(resolutions, reverse=True) != resolutions:
        raise ValueError(f"groups: expected resolutions among {RESOLUTIONS} from fine to coarse, got {text!r}.")
    return groups


def per_block(text: str) -> tuple[int, ...]:
    """The resolution of every block or level, in the order of the text."""
    return tuple(resolution for resolution, number in parse_groups(text) for _ in range(number))


def block_runs(blocks: tuple[int, ...], size: int) -> list[BlockRun]:
    """Runs of equal blocks; the first block of a new resolution works at the one before.

    Args:
      blocks: Resolution of every block, in their order.
      size: Height and width of the maps before the first block.
    """
    equal = itertools.groupby(zip((size, *blocks), blocks, strict=False))
    return [BlockRun(*pair, len(list(run))) for pair, run in equal]


def level_runs(levels: tuple[int, ...]) -> list[tuple[int, slice]]:
    """Resolution and place of every run of levels of the same resolution."""
    runs, start = [], 0
    for resolution, run in itertools.groupby(levels):
        stop = start + len(list(run))
        runs.append((resolution, slice(start, stop)))
        start = stop
    return runs


def resize_nearest(x: Float[Array, "... height width channels"], size: int) -> Float[Array, "... size size channels"]:
    """Nearest-neighbour resize with source pixel floor(target * old / new), as in the original's framework."""
    rows = np.arange(size) * x.shape[-3] // size
    return x[..., rows, :, :][..., np.arange(size) * x.shape[-2] // size, :]


def mean_pool(x: Float[Array, "... height width channels"], size: int) -> Float[Array, "... size size channels"]:
    """Means over squares of pixels; `size` divides height and width."""
    *leading, height, width, channels = x.shape
    return x.reshape(*leading, size, height // size, size, width // size, channels).mean(axis=(-4, -2))
