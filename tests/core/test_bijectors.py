"""Properties that every bijector of the registry has; float64 oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core.affine import scale
from exflow.core.bijector import Bijector, chain
from exflow.core.logit import logit
from tests.core.registry import BIJECTORS, BijectorCase

BATCH = 3


def make(case: BijectorCase, dtype=None):
    """Bijector, params, x and context; x avoids the ends of its range by a tenth of a percent of it."""
    bijector = case.build()
    x_key, context_key, init_key = jax.random.split(jax.random.key(0), 3)
    margin = 1e-3 * (case.high - case.low)
    x = jax.random.uniform(x_key, (BATCH, *case.event_shape), dtype, case.low + margin, case.high - margin)
    context = jax.random.normal(context_key, (BATCH, case.context_dim), dtype) if case.context_dim else None
    params = jax.jit(bijector.init)(init_key, x, context)
    return Bijector(bijector.init, jax.jit(bijector.forward), jax.jit(bijector.inverse)), params, x, context


@pytest.mark.parametrize("name", BIJECTORS)
def test_round_trip_and_log_dets_cancel_in_float64(x64, name):
    bijector, params, x, context = make(BIJECTORS[name])
    z, log_det = bijector.forward(params, x, context)
    recovered, inverse_log_det = bijector.inverse(params, z, context)
    assert z.dtype == log_det.dtype == jnp.float64
    assert log_det.shape == inverse_log_det.shape == (BATCH,)
    np.testing.assert_allclose(recovered, x, atol=1e-10, rtol=1e-10)
    np.testing.assert_allclose(log_det + inverse_log_det, 0.0, atol=1e-10 * max(1.0, float(abs(log_det).max())))
    sample = jax.random.normal(jax.random.key(1), z.shape)  # latents that no data point produced
    np.testing.assert_allclose(
        bijector.forward(params, bijector.inverse(params, sample, context)[0], context)[0], sample, atol=1e-9
    )


@pytest.mark.parametrize("name", BIJECTORS)
def test_round_trip_in_float32(name):
    case = BIJECTORS[name]
    bijector, params, x, context = make(case)
    z, log_det = bijector.forward(params, x, context)
    recovered, inverse_log_det = bijector.inverse(params, z, context)
    assert z.dtype == log_det.dtype == jnp.float32
    np.testing.assert_allclose(recovered, x, atol=1e-5 * max(1.0, case.high))
    np.testing.assert_allclose(log_det + inverse_log_det, 0.0, atol=1e-5 * max(1.0, float(abs(log_det).max())))


@pytest.mark.parametrize("name", BIJECTORS)
def test_log_det_is_that_of_the_jacobian(x64, name):
    bijector, params, x, context = make(BIJECTORS[name])
    dim = int(np.prod(x.shape[1:]))

    def single(x, context):
        context = None if context is None else context[None]
        return bijector.forward(params, x[None], context)[0].reshape(dim)

    jacobians = jax.vmap(jax.jacfwd(single), in_axes=(0, None if context is None else 0))(x, context)
    _, expected = np.linalg.slogdet(np.asarray(jacobians).reshape(BATCH, dim, dim))
    np.testing.assert_allclose(bijector.forward(params, x, context)[1], expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", BIJECTORS)
def test_examples_do_not_interact(name):
    """Reversing the batch reverses the result: log_det and z belong to their example alone."""
    bijector, params, x, context = make(BIJECTORS[name])
    z, log_det = bijector.forward(params, x, context)
    flipped = bijector.forward(params, x[::-1], None if context is None else context[::-1])
    np.testing.assert_allclose(flipped[0][::-1], z, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(flipped[1][::-1], log_det, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", BIJECTORS)
def test_compiles_once_and_has_finite_gradients(name):
    bijector, params, x, context = make(BIJECTORS[name])
    bijector = BIJECTORS[name].build()
    traces = []

    @jax.jit
    def loss(params, x):
        traces.append(1)
        z, log_det = bijector.forward(params, x, context)
        return (z**2).sum() - log_det.sum()

    for step in range(2):
        grads = jax.grad(loss, argnums=(0, 1))(params, x + 1e-3 * step)
        assert all(bool(jnp.isfinite(grad).all()) for grad in jax.tree.leaves(grads))
    assert len(traces) == 1


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
