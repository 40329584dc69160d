"""Metrics of nearest neighbours, and the distances they take, against loops over all pairs."""

import numpy as np
import pytest

from exflow.evaluation.metrics.distances import distance_blocks, neighbour_radii
from exflow.evaluation.metrics.manifolds import density_coverage, improved_precision_recall

RNG = np.random.default_rng(0)
REAL, GENERATED = RNG.normal(size=(60, 3)), RNG.normal(0.8, 0.7, size=(50, 3))


def distances(x, y):
    return np.array([[np.sqrt(((a - b) ** 2).sum()) for b in y] for a in x])


def radii(x, k):
    return np.array([sorted(row)[k] for row in distances(x, x)])  # the nearest is itself


def test_distances_in_chunks():
    x, y = RNG.normal(1e3, 1.0, size=(13, 4)), RNG.normal(1e3, 1.0, size=(7, 4)).astype(np.float32)
    blocks = list(distance_blocks(x, y, 5))
    assert [block.start for block, _ in blocks] == [0, 5, 10]
    np.testing.assert_allclose(np.concatenate([found for _, found in blocks]), distances(x, y) ** 2, rtol=1e-8)
    for rows in (None, 1, 4, 60):
        np.testing.assert_allclose(neighbour_radii(REAL, 3, rows), radii(REAL, 3) ** 2, rtol=1e-10)
    with pytest.raises(ValueError, match="k: expected 1 to 12 neighbours among 13 images, got 13. Take more images."):
        neighbour_radii(x, 13)


@pytest.mark.parametrize("rows", [None, 7])
def test_precision_and_recall_equal_the_loops(rows):
    d, k = distances(REAL, GENERATED), 4
    real, generated = radii(REAL, k), radii(GENERATED, k)
    in_real = np.mean([any(d[i, j] <= real[i] for i in range(60)) for j in range(50)])
    in_generated = np.mean([any(d[i, j] <= generated[j] for j in range(50)) for i in range(60)])
    assert improved_precision_recall(REAL, GENERATED, k, rows) == (in_real, in_generated)
    assert 0 < in_generated < in_real < 1


@pytest.mark.parametrize("rows", [None, 7])
def test_density_and_coverage_equal_the_loops(rows):
    d, r, k = distances(REAL, GENERATED), radii(REAL, 5), 5
    density = sum(d[i, j] <= r[i] for i in range(60) for j in range(50)) / (k * 50)
    coverage = np.mean([d[i].min() <= r[i] for i in range(60)])
    np.testing.assert_allclose(density_coverage(REAL, GENERATED, k, rows), (density, coverage), rtol=1e-12)


def test_limits():
    assert improved_precision_recall(REAL, REAL) == (1.0, 1.0)
    density, coverage = density_coverage(REAL, REAL)
    assert coverage == 1.0
    assert density >= 1.0
    assert improved_precision_recall(REAL, REAL + 100) == density_coverage(REAL, REAL + 100) == (0.0, 0.0)
    same = RNG.normal(size=(2, 400, 3))
    density, coverage = density_coverage(*same)
    assert density == pytest.approx(1.0, abs=0.15)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.05)


def test_an_outlier_among_real_images_raises_precision_and_not_density():
    real = np.concatenate([REAL, [[50.0, 0.0, 0.0]]])
    far = RNG.normal(10, 1, size=(50, 3))
    assert improved_precision_recall(real, far)[0] == 1.0
    assert density_coverage(real, far)[0] <= 0.2
