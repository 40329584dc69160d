"""Properties that every bijector of the registry has; float64 oracles. Each case is compiled once per precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core.bijectors.affine import scale
from exflow.core.bijectors.bijector import Bijector, chain
from exflow.core.bijectors.logit import logit
from tests.core.registry import BIJECTORS

BATCH = 3
# Other masks and chains of what the other cases have
SLOW = (
    "spline_chain",
    "coupling_checkerboard1",
    "coupling_channel1",
    "coupling_odd",
    "spline_even",
    "spline_checkerboard",
    "two_scale_flow",
    "three_scale_flow",
)
NAMES = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in BIJECTORS]


def make_inputs(name: str):
    """x and context; x avoids the ends of its range by a tenth of a percent of it."""
    case, rng = BIJECTORS[name], np.random.default_rng(0)
    margin = 1e-3 * (case.high - case.low)
    x = rng.uniform(case.low + margin, case.high - margin, (BATCH, *case.event_shape))
    return x, rng.normal(size=(BATCH, case.context_dim)) if case.context_dim else None


def both_ways(bijector: Bijector, params, x, context):
    z, log_det = bijector.forward(params, x, context)
    recovered, inverse_log_det = bijector.inverse(params, z, context)
    return {"z": z, "log_det": log_det, "recovered": recovered, "inverse_log_det": inverse_log_det}


@functools.cache
def float32_results(name: str):
    """Results for x and for x in reverse order, gradients, params, and the number of traces of two calls."""
    bijector = BIJECTORS[name].build()
    traces = []

    @jax.jit
    def run(params, x, context):
        traces.append(1)

        def loss(params, x):
            results = both_ways(bijector, params, x, context)
            return (results["z"] ** 2).sum() - results["log_det"].sum(), results

        grads, results = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)
        return results | {"grads": grads}

    inputs = jax.tree.map(np.float32, make_inputs(name))
    params = jax.jit(bijector.init)(jax.random.key(0), *inputs)
    results = run(params, *inputs)
    flipped = run(params, *jax.tree.map(lambda array: array[::-1], inputs))
    return results, flipped, params, len(traces)


@functools.cache
def float64_results(name: str):
    """Results for x, for latents that no x produced, and the Jacobian of forward as [batch, dim, dim]."""
    bijector = BIJECTORS[name].build()
    params = jax.tree.map(np.float64, float32_results(name)[2])

    @jax.jit
    def run(params, x, context, noise):
        def single(x, context):
            return bijector.forward(params, x[None], None if context is None else context[None])[0][0]

        results = both_ways(bijector, params, x, context)
        noise = noise.reshape(results["z"].shape)
        results["noise"] = noise
        results["recovered_noise"] = bijector.forward(params, bijector.inverse(params, noise, context)[0], context)[0]
        results["jacobian"] = jax.vmap(jax.jacfwd(single))(x, context).reshape(BATCH, x[0].size, x[0].size)
        return results

    x, context = make_inputs(name)
    with jax.enable_x64(True):
        results = run(params, x, context, np.random.default_rng(1).normal(size=x.shape))
        assert results["z"].dtype == results["log_det"].dtype == jnp.float64
        return jax.tree.map(np.asarray, results)


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_in_float64(name):
    results = float64_results(name)
    np.testing.assert_allclose(results["recovered"], make_inputs(name)[0], atol=1e-10, rtol=1e-10)
    np.testing.assert_allclose(results["recovered_noise"], results["noise"], atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_log_dets_cancel(name):
    results = float64_results(name)
    assert results["log_det"].shape == results["inverse_log_det"].shape == (BATCH,)
    np.testing.assert_allclose(results["log_det"], -results["inverse_log_det"], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_log_det_is_that_of_the_jacobian(name):
    results = float64_results(name)
    expected = np.linalg.slogdet(results["jacobian"])[1]
    np.testing.assert_allclose(results["log_det"], expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_float32_agrees_with_float64(name):
    results, exact = float32_results(name)[0], float64_results(name)
    x = make_inputs(name)[0]
    assert results["z"].dtype == results["log_det"].dtype == jnp.float32
    np.testing.assert_allclose(results["recovered"], x, atol=1e-5 * max(1.0, abs(x).max()))
    np.testing.assert_allclose(results["z"], exact["z"], atol=1e-4, rtol=1e-5)
    np.testing.assert_allclose(results["log_det"], exact["log_det"], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(results["inverse_log_det"], -exact["log_det"], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_examples_do_not_interact(name):
    """Reversing the batch reverses the result: z and log_det belong to their example alone."""
    results, flipped, _, _ = float32_results(name)
    for key in ("z", "log_det", "recovered"):
        np.testing.assert_allclose(flipped[key][::-1], results[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_compiles_once_and_has_finite_gradients(name):
    results, _, _, traces = float32_results(name)
    assert traces == 1
    assert all(np.isfinite(grad).all() for grad in jax.tree.leaves(results["grads"]))


def test_chain_initialises_each_map_on_the_output_of_those_before():
    seen = []

    def recorder() -> Bijector:
        def init(key, x, context=None):
            seen.append(np.asarray(x))
            return {"offset": x.mean(axis=0)}

        def forward(params, x, context=None):
            return x - params["offset"][None], jnp.zeros(x.shape[0])

        return Bijector(init, forward, lambda params, z, context=None: (z + params["offset"][None], jnp.zeros(1)))

    x = jnp.arange(6.0).reshape(2, 3)
    flow = chain(recorder(), scale(2.0), recorder())
    params = flow.init(jax.random.key(0), x)
    assert len(params) == 3
    assert params[1] == ()
    np.testing.assert_allclose(seen[0], x)
    np.testing.assert_allclose(seen[1], 2 * (x - x.mean(axis=0, keepdims=True)))


def test_logit_of_extreme_values_is_finite_both_ways():
    flow = logit()
    z, log_det = flow.forward((), jnp.array([[0.0, 1.0, 0.5]]))
    alpha = 1e-5
    limit = np.log(alpha / 2) - np.log1p(-alpha / 2)
    np.testing.assert_allclose(z[0], [limit, -limit, 0.0], rtol=1e-6, atol=1e-6)
    assert np.isfinite(log_det).all()
    x, inverse_log_det = flow.inverse((), jnp.array([[-200.0, 200.0, 1000.0]]))
    np.testing.assert_allclose(x[0], [-0.5e-5, 1 + 0.5e-5, 1 + 0.5e-5], atol=1e-7)
    np.testing.assert_allclose(inverse_log_det, [-1400.0], rtol=1e-6)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="expected at least one, got none"):
        chain()
    with pytest.raises(ValueError, match="factor: expected a finite number other than zero"):
        scale(0.0)
    with pytest.raises(ValueError, match="alpha: expected a number between 0 and 1, got 1.0"):
        logit(1.0)
    with pytest.raises(ValueError, match="params: expected 2 entries, one per bijector, got 1"):
        chain(scale(2.0), scale(2.0)).forward(((),), jnp.ones((1, 2)))
