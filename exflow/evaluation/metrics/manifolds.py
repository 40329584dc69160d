"""Fidelity and diversity by nearest neighbours: every image has a ball up to the k-th neighbour within its set."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from exflow.evaluation.metrics.distances import Features, check_features, distance_blocks, neighbour_radii

NEIGHBOURS = 3  # of precision and recall (Kynkaanniemi et al. 2019)
DENSITY_NEIGHBOURS = 5  # of density and coverage (Naeem et al. 2020)


class Overlap(NamedTuple):
    """Which balls images of the other set lie in; borders belong to the balls."""

    inside: Bool[np.ndarray, " images"]  # whether an image lies in any ball
    number: Int[np.ndarray, " images"]  # in how many
    hit: Bool[np.ndarray, " balls"]  # whether a ball holds any image


def overlap(centers: Features, images: Features, k: int, rows: int | None = None) -> Overlap:
    """How images lie in the balls around the features of another set.

    Args:
      centers: Features whose balls reach to their k-th nearest neighbours.
      images: Features.
      k: Neighbours.
      rows: Images at a time; None: as memory allows.
    """
    radii, hit, number = neighbour_radii(centers, k, rows), np.zeros(len(centers), bool), []
    for _, squares in distance_blocks(images, centers, rows):
        inside = squares <= radii[None]
        number.append(inside.sum(axis=1))
        hit |= inside.any(axis=0)
    total = np.concatenate(number)
    return Overlap(total > 0, total, hit)


def improved_precision_recall(
    real: Features, generated: Features, k: int = NEIGHBOURS, rows: int | None = None
) -> tuple[float, float]:
    """Share of generated images in a ball of a real one, and share of real images in a ball of a generated one.

    Source: Kynkaanniemi et al. 2019, arXiv:1904.06991, equation 2.
    """
    check_features(real=real, generated=generated)
    precision = overlap(real, generated, k, rows).inside.mean()
    return float(precision), float(overlap(generated, real, k, rows).inside.mean())


def density_coverage(
    real: Features, generated: Features, k: int = DENSITY_NEIGHBOURS, rows: int | None = None
) -> tuple[float, float]:
    """Mean number of balls of real images that a generated one lies in, over k; and share of them that hold any.

    Density may exceed 1; both are about 1 (coverage 1 - 2^-k) where the distributions are equal. Outliers among the
    real images, whose large balls hold anything, weigh less than in precision. Source: Naeem et al. 2020,
    arXiv:2002.09797, equations 3 and 4.
    """
    check_features(real=real, generated=generated)
    found = overlap(real, generated, k, rows)
    return float(found.number.mean() / k), float(found.hit.mean())
