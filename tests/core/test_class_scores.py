"""Log densities of all queries under all classes, some of which lie far from the others, in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.core.process_cases import random_moments
from tests.core.registry import COMPILED, NAMES, PROCESSES

DIM = 8


@pytest.mark.parametrize("far", [0.0, 1e4, -1e4])
@pytest.mark.parametrize("name", NAMES)
def test_a_far_class_costs_the_others_no_digits(name, far):
    """Against the dense predictive in float64, of which the matrix products lost up to 2.4 nats."""
    rng, case = np.random.default_rng(0), PROCESSES[name]
    moments = random_moments(rng, DIM, max_correlation=0.9)
    location = rng.normal(size=(5, 1, DIM))
    location[4] += far
    support, queries = np.float32(location + 0.3 * rng.normal(size=(5, 3, DIM))), np.float32(location[:, 0])
    params = case.params(moments, jnp.float32)
    states = COMPILED[name].update_set(params, case.module.init_state(params, (5,)), jnp.asarray(support))
    scores = COMPILED[name].class_log_probs(params, states, jnp.asarray(queries))
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (params, support))
        states = COMPILED[name].update_set(exact[0], case.module.init_state(exact[0], (5,)), exact[1])
        expected = COMPILED[name].predictive_log_prob(exact[0], states, jnp.asarray(queries, jnp.float64)[:, None])
    np.testing.assert_allclose(scores, expected, rtol=3e-6, atol=3e-5)


def test_gradients_where_a_class_is_far():
    module = PROCESSES["gaussian_process"].module
    params = module.from_moments(jnp.zeros(2), jnp.full(2, 2.0), jnp.full(2, 1.9))
    support = jnp.array([[[0.1, 0.2]], [[0.5, -0.2]], [[1e4, 1e4]]])

    def score(queries, direct):
        states = module.update_set(params, module.init_state(params, (3,)), support)
        if direct:
            return module.predictive_log_prob(params, states, queries[:, None])[:, :2].sum()
        return module.class_log_probs(params, states, queries)[:, :2].sum()

    queries, gradient = jnp.array([[0.3, 0.1], [0.2, 0.9]]), jax.jit(jax.grad(score), static_argnums=1)
    np.testing.assert_allclose(*(gradient(queries, direct) for direct in (False, True)), rtol=1e-6)
