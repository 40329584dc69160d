"""What only the mixture process has: its two limits, its posterior weights, and what training makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core import gaussian_process, mixture_process, student_t_process
from tests.core.process_cases import random_moments, random_set
from tests.core.registry import COMPILED

pytestmark = pytest.mark.slow  # many compilations

DIM = 4
MOMENTS = random_moments(np.random.default_rng(0), DIM, max_correlation=0.9)
Z = random_set(np.random.default_rng(1), MOMENTS, (3, 8))


def arrays(*fields):
    return (jnp.asarray(getattr(MOMENTS, field)) for field in fields)


@pytest.mark.parametrize("gaussian", [True, False])
def test_certain_weights_leave_one_process(x64, gaussian):
    weight = 1 - 1e-14 if gaussian else 1e-14
    location = tuple(arrays("mean", "variance", "covariance", "degrees_of_freedom"))
    mixture = mixture_process.from_moments(*location, jnp.full(DIM, weight))
    module = gaussian_process if gaussian else student_t_process
    alone = module.from_moments(*location[: 3 + (not gaussian)])
    z = jnp.asarray(Z)
    expected = jax.jit(module.log_prob)(alone, z)
    np.testing.assert_allclose(COMPILED["mixture_process"].log_prob(mixture, z), expected, rtol=1e-9)


def test_the_joint_is_the_mixture_of_joints(x64):
    """One decision per dimension for the whole set, not one per element."""
    moments = random_moments(np.random.default_rng(2), 1)._replace(gaussian_weight=np.array([0.3]))
    location = [jnp.asarray(value) for value in moments[:4]]
    z = jnp.asarray(random_set(np.random.default_rng(3), moments, (5, 6)))
    mixture = mixture_process.from_moments(*location, jnp.array([0.3]))
    process = COMPILED["mixture_process"]
    gaussian = COMPILED["gaussian_process"].log_prob(gaussian_process.from_moments(*location[:3]), z).sum(-1)
    student_t = COMPILED["student_t_process"].log_prob(student_t_process.from_moments(*location), z).sum(-1)
    expected = np.logaddexp(np.log(0.3) + gaussian, np.log(0.7) + student_t)
    np.testing.assert_allclose(process.log_prob(mixture, z).sum(-1), expected, rtol=1e-11)
    state = process.update_set(mixture, mixture_process.init_state(mixture), z)
    posterior = np.exp(np.log(0.3) + gaussian - expected)[:, None]
    np.testing.assert_allclose(process.predictive(mixture, state).gaussian_weight, posterior, rtol=1e-9)


def test_training_tells_light_from_heavy_tails():
    """Sets whose scales vary raise the weight of the Student-t process, others that of the Gaussian one."""
    rng = np.random.default_rng(4)
    scale = np.stack([np.ones((300, 1)), 1 / np.sqrt(rng.gamma(2.0, 0.5, (300, 1)))], axis=-1)
    z = jnp.asarray(scale * rng.normal(size=(300, 12, 2)), jnp.float32)
    raw = mixture_process.unconstrain(mixture_process.fit(z, degrees_of_freedom=5.0))

    @jax.jit
    @jax.grad
    def gradient(raw):
        return mixture_process.log_prob(mixture_process.constrain(raw), z).sum()

    uphill = gradient(raw)["raw_gaussian_weight"]
    assert uphill[0] > 10
    assert uphill[1] < -10


def test_states_without_scatter_are_refused():
    params = mixture_process.constrain(mixture_process.init_raw(2))
    state = mixture_process.init_state(params)._replace(scatter=None)
    with pytest.raises(ValueError, match=r"state: expected one with scatter, got none. Start from mixture_process"):
        mixture_process.predictive(params, state)
