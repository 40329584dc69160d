"""Normalisation, noise, initial values and masks of the layers of Matryoshka networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.models.matnet.networks.layers import Map, Mode, Norm
from exflow.models.matnet.networks.plan import Style

STYLE = Style("batch", 0.0, "identity", "orthogonal")
U = np.random.default_rng(0).normal(2.0, 3.0, (6, 2, 2, 4))


def norm(style, mode, params, averages=None, mutable=(), rngs=None, u=U):
    variables = jax.tree.map(jnp.asarray, {"params": params} | ({} if averages is None else {"batch_stats": averages}))

    @jax.jit
    def apply(variables, u, mask, rngs):
        return Norm(style).apply(variables, u, mode._replace(mask=mask), mutable=list(mutable), rngs=rngs)

    return jax.tree.map(np.asarray, apply(variables, jnp.asarray(u), mode.mask, rngs))


PARAMS = {"gain": np.linspace(0.5, 2.0, 4), "bias": np.linspace(-1.0, 1.0, 4)}
AVERAGES = {"mean": np.linspace(0.0, 1.0, 4), "variance": np.linspace(1.0, 3.0, 4)}


def test_running_averages(x64):
    """They normalise at evaluation and move by a tenth of the moments of a batch, with the unbiased variance."""
    found, _ = norm(STYLE, Mode(), PARAMS, AVERAGES, ["batch_stats"])
    standard = (U - AVERAGES["mean"]) / np.sqrt(AVERAGES["variance"] + 1e-5)
    np.testing.assert_allclose(found, PARAMS["gain"] * standard + PARAMS["bias"], rtol=1e-10)
    found, updated = norm(STYLE, Mode(True), PARAMS, AVERAGES, ["batch_stats"])
    flat = U.reshape(-1, 4)
    standard = (U - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
    np.testing.assert_allclose(found, PARAMS["gain"] * standard + PARAMS["bias"], rtol=1e-10)
    expected = 0.9 * AVERAGES["mean"] + 0.1 * flat.mean(0), 0.9 * AVERAGES["variance"] + 0.1 * flat.var(0, ddof=1)
    averages = updated["batch_stats"]
    jax.tree.map(np.testing.assert_allclose, (averages["mean"], averages["variance"]), expected)


@pytest.mark.parametrize("kind", ["batch", "batch_statistics"])
def test_elements_that_do_not_exist_count_in_no_moment(kind, x64):
    there = np.array([True, False, True, True, False, True])
    holed = np.where(there[:, None, None, None], U, np.nan)
    style = STYLE._replace(normalization=kind)
    found, updated = norm(style, Mode(True, jnp.asarray(there)), PARAMS, AVERAGES, ["batch_stats"], u=holed)
    expected, moments = norm(style, Mode(True), PARAMS, AVERAGES, ["batch_stats"], u=U[there])
    np.testing.assert_allclose(found[there], expected, rtol=1e-10)
    jax.tree.map(np.testing.assert_allclose, updated, moments)


@pytest.mark.parametrize(("kind", "factor"), [("none", 1.0), ("batch_statistics", PARAMS["gain"])])
def test_noise_is_added_before_the_gain_and_in_training_alone(kind, factor, x64):
    noisy, rngs = STYLE._replace(normalization=kind, noise=0.3), {"noise": jax.random.key(0)}
    calm, _ = norm(noisy, Mode(), PARAMS)
    silent, _ = norm(noisy._replace(noise=0.0), Mode(True), PARAMS)
    np.testing.assert_array_equal(calm, silent)
    u = np.tile(U, (50, 1, 1, 1))
    differences = [norm(style, Mode(True), PARAMS, rngs=rngs, u=u)[0] for style in (noisy, noisy._replace(noise=0.0))]
    noise = np.subtract(*differences) / factor
    assert abs(noise.std() - 0.3) < 5 * 0.3 / np.sqrt(2 * noise.size)
    assert abs(noise.mean()) < 5 * 0.3 / np.sqrt(noise.size)
    assert np.unique(noise).size == noise.size


@pytest.mark.parametrize(
    ("taps", "resampling", "widths"), [((), "", (3, 4)), ((3, 3), "", (2, 3)), ((3, 3), "up", (2, 2))]
)
def test_orthogonal_kernels(taps, resampling, widths, x64):
    """Parts of a kernel, for inputs side by side, are those of one orthogonal matrix times 1.1."""
    inputs = [np.zeros((1, *((4, 4) if taps else ()), width)) for width in widths]
    params = jax.jit(Map(5, STYLE, taps, resampling).init)(jax.random.key(0), *inputs)["params"]
    kernel = np.concatenate([params["kernel"], params["kernel1"]], axis=-1 if resampling == "up" else -2)
    flat = kernel.reshape(-1, kernel.shape[-1])
    np.testing.assert_allclose(flat.T @ flat, 1.21 * np.eye(flat.shape[1]), atol=1e-6)


def test_normal_kernels_gains_and_biases():
    normal = STYLE._replace(initialization="normal")
    kernel = jax.jit(Map(200, normal).init)(jax.random.key(0), np.zeros((1, 100), np.float32))["params"]["kernel"]
    params = jax.jit(lambda key: Norm(normal).init(key, jnp.zeros((2, 20_000)), Mode()))(jax.random.key(1))["params"]
    kernel, gain, bias = map(np.asarray, (kernel, params["gain"], params["bias"]))
    for values, mean in ((kernel, 0.0), (gain, 1.0)):
        assert abs(values.std() - 0.02) < 5 * 0.02 / np.sqrt(2 * values.size)
        assert abs(values.mean() - mean) < 5 * 0.02 / np.sqrt(values.size)
    assert not bias.any()


def test_weight_normalisation(x64):
    """Kernels of length g per output, which is their own length at the start."""
    layer, x = Map(5, STYLE._replace(normalization="weight"), (3, 3)), jnp.asarray(U)
    layers = layer, Map(5, STYLE, (3, 3))
    apply, plain = (jax.jit(lambda params, one=one: one.apply({"params": params}, x)) for one in layers)
    params = jax.tree.map(np.asarray, jax.jit(layer.init)(jax.random.key(0), x)["params"])
    bare = np.asarray(plain({"kernel": params["kernel"]}))
    np.testing.assert_allclose(apply(params), bare, rtol=1e-9, atol=1e-12)
    other = {"kernel": 3.0 * params["kernel"], "weight_gain": 2.0 * params["weight_gain"]}
    np.testing.assert_allclose(apply(other), 2.0 * bare, rtol=1e-9, atol=1e-12)
