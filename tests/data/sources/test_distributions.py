"""Random distributions: densities, moments, labels, and the reference values of the experiment."""

import numpy as np
import pytest
from scipy import integrate, stats

from exflow.data import datasets
from exflow.data.sources.distributions import FAMILIES, REFERENCE, STANDARDISED, draw, log_density
from exflow.errors import UserError

NAMES = sorted(set(FAMILIES["easy"] + FAMILIES["hard"]))
PUBLISHED = {"easy": (-1.454, -1.620, -1.778), "hard": (-1.382, -1.700, -1.823)}  # Monte Carlo, 0.003


def scipy_law(family: str, m: float, v: float):
    """The law by its definition in terms of m and v, with a method pdf."""
    root = np.sqrt(v)
    if family == "mixture":
        modes = [stats.norm(sign * (1 + abs(m)), v / 2) for sign in (-1, 1)]
        return lambda x: np.mean([mode.pdf(x) for mode in modes], axis=0)
    return {
        "gaussian": stats.norm(m, v),
        "laplace": stats.laplace(m, v),
        "uniform": stats.uniform(m - np.sqrt(3) * root, 2 * np.sqrt(3) * root),
        "exponential": stats.expon(m - root, root),
        "reversed_exponential": stats.expon(-m - root, root),
    }[family].pdf


def labels_of(family: str, m, v):
    return (1 + np.abs(m), v / 2) if family == "mixture" else (m, v)


@pytest.mark.parametrize("family", NAMES)
def test_densities_equal_scipy_and_draws_follow_them(family) -> None:
    rng = np.random.default_rng(0)
    for m, v in ((-0.7, 0.6), (0.4, 1.9)):
        x = np.linspace(-12, 12, 24001)
        pdf, sign = scipy_law(family, m, v), -1 if family == "reversed_exponential" else 1
        with np.errstate(divide="ignore"):
            density = np.exp(log_density(family, x, *labels_of(family, m, v)))
        np.testing.assert_allclose(density, pdf(sign * x), rtol=1e-10, atol=1e-300)
        np.testing.assert_allclose(integrate.trapezoid(density, x), 1, atol=2e-3)  # densities with jumps
        location, spread = (np.full(1, label) for label in labels_of(family, m, v))
        drawn = draw(rng, family, location, spread, 4000, standardise=False)[0]
        cumulative = integrate.cumulative_simpson(density, x=x, initial=0)
        assert stats.kstest(np.interp(drawn, x, cumulative), "uniform").pvalue > 1e-5


@pytest.mark.parametrize("kind", FAMILIES)
def test_sets_carry_their_family_and_moments(kind) -> None:
    sets = datasets.load("distributions_1d", kind=kind, num_train=400, num_validation=3, num_test=5, set_size=50)
    assert [len(part.count) for part in sets.values()] == [400, 3, 5]
    train = sets["train"]
    x = train.images[train.index][:, :, 0, 0, 0].astype(np.float64)
    known = train.context[train.index].astype(np.float64)
    np.testing.assert_array_equal(known, known[:, :1].repeat(50, axis=1))
    family, location, spread = known[:, 0].T
    assert (np.bincount(family.astype(int), minlength=4) > 60).all()
    names = np.array(FAMILIES[kind])[family.astype(int)]
    standardised, mixture = np.isin(names, STANDARDISED), names == "mixture"
    np.testing.assert_allclose(x.mean(axis=1)[standardised], location[standardised], atol=1e-6)
    np.testing.assert_allclose(x.var(axis=1)[standardised], spread[standardised], rtol=1e-5)
    assert ((location >= 1) & (location <= 2) & (spread >= 0.25) & (spread <= 1) | ~mixture).all()
    assert ((location >= -1) & (location <= 1) & (spread >= 0.5) & (spread <= 2) | mixture).all()
    skewed = stats.skew(x, axis=1)
    assert (skewed[names == "exponential"] > 0).all()
    assert (skewed[names == "reversed_exponential"] < 0).all()


def test_sets_are_a_function_of_seed_and_split() -> None:
    small, large, other = (
        datasets.load("distributions_1d", num_train=size, num_validation=4, num_test=4, seed=seed)
        for size, seed in ((5, 1), (9, 1), (5, 2))
    )
    np.testing.assert_array_equal(small["test"].images, large["test"].images)
    assert not np.array_equal(small["test"].images, other["test"].images)
    assert not np.array_equal(small["validation"].images, small["test"].images)


@pytest.mark.parametrize("kind", FAMILIES)
def test_reference_values_are_reproduced(kind) -> None:
    """All laws on a grid of (m, v): means of log densities under the true law, the set's moments and all laws."""
    rng = np.random.default_rng(1)
    middle = (np.arange(24) + 0.5) / 24
    m, v = (grid.ravel() for grid in np.meshgrid(2 * middle - 1, 0.5 + 1.5 * middle))
    points = np.linspace(-40, 40, 8001)
    oracle, gaussian, elements, pooled = [], [], [], np.zeros_like(points)
    for family in FAMILIES[kind]:
        location, spread = labels_of(family, m, v)
        fresh = draw(rng, family, location, spread, 200, standardise=False)
        oracle.append(log_density(family, fresh, location[:, None], spread[:, None]))
        x = draw(rng, family, location, spread, 200)
        elements.append(x)
        gaussian.append(-0.5 * np.log(2 * np.pi * np.e * x.var(axis=1)))
        pooled += np.exp(log_density(family, points, location[:, None], spread[:, None])).mean(axis=0) / 4
    found = (
        np.mean(oracle),
        np.mean(gaussian),
        np.interp(np.ravel(elements), points, np.log(np.maximum(pooled, 1e-300))).mean(),
    )
    errors = [np.std(oracle) / np.sqrt(np.size(oracle)), np.std(gaussian) / np.sqrt(np.size(gaussian)), 0.0015]
    for value, error, expected, published in zip(found, errors, REFERENCE[kind].values(), PUBLISHED[kind], strict=True):
        assert abs(value - expected) < 5 * error + 0.001
        assert abs(expected - published) <= 0.003


def test_wrong_options_are_refused() -> None:
    for options, message in (
        ({"kind": "medium"}, r"distributions_1d: expected kind of 'easy' or 'hard', got 'medium'"),
        ({"num_test": 0}, r"distributions_1d: expected num_test >= 1, got 0"),
        ({"set_size": 1}, r"distributions_1d: expected set_size >= 2, got 1"),
        ({"seed": -1}, r"distributions_1d: expected seed >= 0, got -1"),
    ):
        with pytest.raises(UserError, match=message):
            datasets.load("distributions_1d", **options)
    parsed = datasets.parse_options("distributions_1d", "kind=hard, set_size=50")
    assert parsed == {"kind": "hard", "set_size": 50}
