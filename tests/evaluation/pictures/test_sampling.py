"""Samples and predictive densities against closed forms, and the pixels of the pictures."""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy.stats import norm

from exflow.evaluation import compiled
from exflow.evaluation.pictures import grids, sampling
from tests.evaluation.scoring.test_few_shot import elements_of
from tests.evaluation.toy import ToyElement, toy_model, toy_params
from tests.evaluation.toy_data import predictive_log_prob

MODEL = toy_model((1, 3, 1))
PARAMS = toy_params(3, variance=0.5, covariance=0.4)


def observed(size=4, seed=0):
    rng = np.random.default_rng(seed)
    return elements_of(0.6 * rng.normal(size=3) + 0.3 * rng.normal(size=(size, 3)))


def posterior(z, count):
    """Mean and variance of the next latent after `count` observations."""
    weight = 0.4 / (0.1 + 0.4 * count)
    return weight * z[:count].sum(0, dtype=np.float64), 0.1 * (1 + weight)


def test_column_k_has_seen_the_first_k():
    element_set = observed()
    samples = sampling.conditional_grid(MODEL, PARAMS, jax.random.key(0), element_set, num_rows=4000)
    assert samples.shape == (4000, 5, 1, 3, 1)
    z = (samples.reshape(4000, 5, 3).astype(np.float64) + 0.5 - 128) / 64
    for count in range(5):
        mean, variance = posterior(element_set.z, count)
        error = 5 * (variance / 4000) ** 0.5
        np.testing.assert_allclose(z[:, count].mean(0), mean, atol=error + 0.01)  # clipping to 0..255 moves the prior
        if count:
            np.testing.assert_allclose(z[:, count].var(0), variance + (1 / 64) ** 2 / 12, rtol=0.12)


def test_rows_of_a_coherent_prior_grid_share_their_class():
    coherent = sampling.prior_grid(MODEL, PARAMS, jax.random.key(0), 200, 10, coherent=True)
    independent = sampling.prior_grid(MODEL, PARAMS, jax.random.key(0), 200, 10)
    assert coherent.shape == independent.shape == (200, 10, 1, 3, 1)
    for grid, expected in ((coherent, 0.1), (independent, 0.5)):  # variance inside a row
        z = (grid.astype(np.float64) - 127.5) / 64
        np.testing.assert_allclose(z.var(axis=1, ddof=1).mean(), expected, rtol=0.1)


def test_predictive_density_of_one_dimension():
    element_set = observed()
    points = np.stack([np.linspace(-8, 8, 801)] * 2)
    element = ToyElement(jnp.asarray([0.3, -0.2, 0.1]), jnp.asarray(-1.5))
    densities = sampling.predictive_densities(MODEL, PARAMS, element_set, element, np.array([2, 0]), points, [0, 1, 4])
    for row, count in enumerate([0, 1, 4]):
        mean, variance = posterior(element_set.z, count)
        for panel, dimension in enumerate([2, 0]):
            expected = norm(mean[dimension], variance**0.5).pdf(points[panel])
            np.testing.assert_allclose(densities[row, panel], expected, atol=2e-4)
    direct = predictive_log_prob(element_set.z, np.array([0.0, -0.2, 0.1]), PARAMS)  # the same through the dense joint
    other = predictive_log_prob(element_set.z, np.array([1.0, -0.2, 0.1]), PARAMS)
    ratio = densities[2, 1, 400] / densities[2, 1, 450]  # at 0 and 1
    np.testing.assert_allclose(np.log(ratio), direct - other, rtol=1e-3)


def test_informative_dimensions_by_intraclass_correlation():
    rng = np.random.default_rng(0)
    strength = np.array([0.0, 3.0, 0.5, 2.0, 0.1])
    z = strength * rng.normal(size=(60, 1, 5)) + rng.normal(size=(60, 8, 5))
    np.testing.assert_array_equal(sampling.informative_dimensions(z, 3), [1, 3, 2])  # 2 is the median
    np.testing.assert_array_equal(sampling.informative_dimensions(z, 1), [2])


def test_grid_picture_places_enlarged_cells():
    samples = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5, 1)
    support = samples[1, :2] + 100
    picture = np.asarray(grids.grid_picture(samples, support, invert=True))
    factor = 12  # 5 pixels enlarged to 60
    assert picture.shape == ((4 * factor + 1) * 3 + 6 + 1, (5 * factor + 1) * 3 + 1)
    cell = picture[1 : 1 + 4 * factor, 1 + 61 : 61 + 61]  # given images stand above the last two columns
    np.testing.assert_array_equal(cell[::factor, ::factor], 255 - support[0, ..., 0])
    assert (picture[:49, :61] == 255).all()
    top = 49 + 6 + 49 + 1
    cell = picture[top : top + 4 * factor, 1 + 122 : 122 + 61]
    np.testing.assert_array_equal(cell, (255 - samples[1, 2, ..., 0]).repeat(factor, 0).repeat(factor, 1))


def test_pictures_are_png_files(tmp_path):
    color = np.full((1, 2, 8, 8, 3), 200, np.uint8)
    grid = grids.grid_picture(color, titles=["a", "b"])
    path = grids.save(tmp_path / "new" / "grid.png", grids.tile([grid] * 3, 2))
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"
        assert image.size == (2 * grid.width + 12, 2 * grid.height + 12)
    assert grids.looks_inverted(np.zeros((1, 4, 4, 1), np.uint8))
    assert not grids.looks_inverted(np.zeros((1, 4, 4, 3), np.uint8))


def test_predictive_figure(tmp_path):
    rng = np.random.default_rng(0)
    elements = elements_of(rng.normal(size=(5, 1, 1, 3)) + 0.3 * rng.normal(size=(5, 1, 4, 3)))
    path = sampling.predictive_figure(tmp_path / "predictive.png", MODEL, PARAMS, elements, label=1)
    with Image.open(path) as image:
        assert image.size[0] > 2 * image.size[1]
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_samples_given_nothing_need_no_program_of_their_own():
    """From the shapes that a growing set has, the same images by the same program."""
    grow = observed(size=3)
    empty = sampling.all_empty(sampling.prefix_states(MODEL, PARAMS, grow))
    key = jax.random.key(3)
    sampling.conditional_grid(MODEL, PARAMS, key, grow, 5)
    before = compiled.sample._cache_size()
    found = sampling.prior_grid(MODEL, PARAMS, key, 4, 5, states=empty)
    assert compiled.sample._cache_size() == before
    np.testing.assert_array_equal(found, sampling.prior_grid(MODEL, PARAMS, key, 4, 5))
