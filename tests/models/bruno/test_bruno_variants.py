"""What BRUNO can be beyond the published model: other couplings, masks and processes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.models.bruno.flow import bruno_flow, dense_mask
from exflow.models.bruno.model import bruno
from exflow.models.bruno.process import PROCESSES
from tests.models.parameters import shaken
from tests.models.registry import IMAGE_SHAPE, small_config
from tests.models.test_set_models import batch_of, images

pytestmark = pytest.mark.slow  # many compilations

VARIANTS = {
    "spline": {"model__bruno__coupling": "spline"},
    "affine_scaled": {"model__bruno__coupling": "affine_scaled"},
    "checkerboard": {"model__bruno__dense_mask": "checkerboard"},
}


@functools.cache
def start(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Latents and log-determinants of two images right after initialisation."""
    flow = bruno_flow(small_config(model__bruno__scales=1, **VARIANTS.get(name, {})).model, IMAGE_SHAPE)
    x = jax.random.uniform(jax.random.key(0), (2, *IMAGE_SHAPE), jnp.float32, 0.0, 256.0)
    return jax.device_get(jax.jit(lambda x: flow.forward(flow.init(jax.random.key(1), x), x))(x))


@pytest.mark.parametrize("name", VARIANTS)
def test_flow_starts_as_the_published_one(name):
    """That is as the identity on logit pixels, and with both kinds of conditioners."""
    (z, log_det), (expected, expected_log_det) = start(name), start("published")
    np.testing.assert_allclose(z, expected, atol=1e-4)
    np.testing.assert_allclose(log_det, expected_log_det, rtol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_learns(name):
    model = bruno(small_config(model__bruno__scales=0, **VARIANTS[name]), IMAGE_SHAPE)
    batch = batch_of(images(4, 5))
    params = shaken(jax.jit(model.init)(jax.random.key(0), batch))
    gradients = jax.jit(jax.grad(lambda params: model.loss(params, jax.random.key(0), batch)[0]))(params)
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert np.isfinite(gradient).all(), jax.tree_util.keystr(path)
        if "mean" not in jax.tree_util.keystr(path):
            assert np.any(gradient != 0), jax.tree_util.keystr(path)


def test_dense_checkerboard_alternates_along_rows_and_columns():
    mask = dense_mask("checkerboard", (4, 6, 1), 0)
    assert isinstance(mask, np.ndarray)
    rows, columns = np.indices((4, 6))
    np.testing.assert_array_equal(mask.reshape(4, 6), (rows + columns) % 2 == 1)
    alternate = dense_mask("alternate", (4, 6, 1), 0)
    assert callable(alternate)
    np.testing.assert_array_equal(alternate((24,)).reshape(4, 6), columns % 2 == 1)


@pytest.mark.parametrize("process", PROCESSES)
def test_refit_improves_and_keeps_what_moments_do_not_tell(process):
    config = small_config(
        model__bruno__scales=0,
        model__bruno__process=process,
        model__bruno__process_rank=2,
        model__bruno__learn_mean=True,
        model__bruno__dense_couplings=0,
    )
    model, rng = bruno(config, IMAGE_SHAPE), np.random.default_rng(0)
    base = rng.integers(40, 200, (16, 1, *IMAGE_SHAPE))
    batch = batch_of(jnp.asarray(base + rng.integers(-30, 30, (16, 5, *IMAGE_SHAPE)), jnp.uint8))
    params = jax.jit(model.init)(jax.random.key(0), batch)
    params["process"] = {
        name: raw + 0.5 if name in ("raw_degrees_of_freedom", "raw_gaussian_weight") else raw
        for name, raw in params["process"].items()
    }
    refitted = jax.jit(
        lambda params: model.process.refit.fit(params, model.encode(params, jax.random.key(2), batch.x_set), batch.mask)
    )(params)
    for name in ("raw_degrees_of_freedom", "raw_gaussian_weight"):
        if name in params["process"]:
            np.testing.assert_array_equal(refitted["process"][name], params["process"][name])
    assert jax.tree.structure(refitted) == jax.tree.structure(params)
    loss = jax.jit(lambda params: model.loss(params, jax.random.key(1), batch)[0])
    assert loss(refitted) < loss(params) - 5
