"""What only the Student-t process has: the normal-inverse-gamma view, its limit, its accuracy at large nu."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from exflow.core import gaussian_process, student_t_process
from tests.core.registry import COMPILED

STUDENT_T = COMPILED["student_t_process"]
MEAN, VARIANCE, COVARIANCE, NU = 0.3, 2.0, 0.7, 4.5
Z = np.array([0.1, 1.5, -0.4, 2.0])


def make_params(nu: float = NU, dtype=None):
    return student_t_process.from_moments(*(jnp.array([value], dtype) for value in (MEAN, VARIANCE, COVARIANCE, nu)))


def state_of(params, z):
    return STUDENT_T.update_set(params, student_t_process.init_state(params), jnp.asarray(z)[:, None])


def inverse_gamma_grid() -> tuple[np.ndarray, np.ndarray]:
    """Points of the scale w on a logarithmic grid and their spacings."""
    log_w = np.linspace(-6, 16, 2001)
    return np.exp(log_w), np.exp(log_w) * (log_w[1] - log_w[0])


def test_de_finetti(x64):
    """The integral over w ~ InvGamma(nu/2, (nu-2)/2) of the Gaussian process with variances times w is the joint."""
    w, spacing = inverse_gamma_grid()
    weights = stats.invgamma(NU / 2, scale=(NU - 2) / 2).pdf(w) * spacing
    scaled = gaussian_process.from_moments(
        jnp.full(len(w), MEAN), jnp.asarray(VARIANCE * w), jnp.asarray(COVARIANCE * w)
    )
    Z1 = jnp.asarray(Z)[:, None]

    @jax.jit
    @jax.vmap
    def given_w(*fields):
        return gaussian_process.log_prob(gaussian_process.GaussianParams(*fields), Z1).sum()

    densities = np.exp(given_w(*(field[:, None] for field in scaled)))
    joint = STUDENT_T.log_prob(make_params(), Z1).sum()
    np.testing.assert_allclose(joint, np.log((weights * densities).sum()), rtol=1e-8)


def test_predictive_is_the_textbook_normal_inverse_gamma(x64):
    """kappa0 = n0, alpha0 = nu/2, beta0 = (nu-2)(v-rho)/2; predictive t(2 alpha, mu, beta (kappa+1)/(alpha kappa))."""
    within = VARIANCE - COVARIANCE
    kappa0, alpha0, beta0 = within / COVARIANCE, NU / 2, (NU - 2) * within / 2
    n, mean = len(Z), Z.mean()
    kappa, alpha = kappa0 + n, alpha0 + n / 2
    beta = beta0 + 0.5 * n * Z.var() + 0.5 * kappa0 * n * (mean - MEAN) ** 2 / kappa
    location = (kappa0 * MEAN + n * mean) / kappa
    law = stats.t(2 * alpha, location, np.sqrt(beta * (kappa + 1) / (alpha * kappa)))
    params = make_params()
    state = state_of(params, Z)
    for x in (-3.0, 0.0, 0.7, 10.0):
        log_prob = STUDENT_T.predictive_log_prob(params, state, jnp.array([x]))
        np.testing.assert_allclose(log_prob, law.logpdf(x), rtol=1e-9)
    predictive = STUDENT_T.predictive(params, state)
    np.testing.assert_allclose(predictive.mean, law.mean(), rtol=1e-11)
    np.testing.assert_allclose(predictive.variance, law.var(), rtol=1e-11)
    np.testing.assert_allclose(predictive.degrees_of_freedom, NU + n, rtol=1e-12)


def test_predictive_is_a_scale_mixture_over_the_posterior(x64):
    """w given the set ~ InvGamma((nu+n)/2, b_n/2), and the next element given w is Gaussian with variance w k."""
    n, within = len(Z), VARIANCE - COVARIANCE
    matrix = np.full((n, n), COVARIANCE) + within * np.eye(n)
    b = NU - 2 + (Z - MEAN) @ np.linalg.solve(matrix, Z - MEAN)
    w, spacing = inverse_gamma_grid()
    weights = stats.invgamma((NU + n) / 2, scale=b / 2).pdf(w) * spacing
    tau = 1 / (n + within / COVARIANCE)
    location = MEAN + tau * (Z - MEAN).sum()
    density = (weights * stats.norm(location, np.sqrt(w * within * (1 + tau))).pdf(1.3)).sum()
    params = make_params()
    log_prob = STUDENT_T.predictive_log_prob(params, state_of(params, Z), jnp.array([1.3]))
    np.testing.assert_allclose(log_prob, np.log(density), rtol=1e-9)


def test_telescoped_joint(x64):
    n = len(Z)
    matrix = np.full((n, n), COVARIANCE) + (VARIANCE - COVARIANCE) * np.eye(n)
    b = NU - 2 + (Z - MEAN) @ np.linalg.solve(matrix, Z - MEAN)
    expected = special.gammaln((NU + n) / 2) - special.gammaln(NU / 2) - 0.5 * n * np.log(np.pi)
    expected += -0.5 * np.linalg.slogdet(matrix)[1] + 0.5 * NU * np.log(NU - 2) - 0.5 * (NU + n) * np.log(b)
    joint = STUDENT_T.log_prob(make_params(), jnp.asarray(Z)[:, None]).sum()
    np.testing.assert_allclose(joint, expected, rtol=1e-12)


def test_large_nu_is_the_gaussian_process(x64):
    gaussian = gaussian_process.from_moments(*(jnp.array([value]) for value in (MEAN, VARIANCE, COVARIANCE)))
    exact = COMPILED["gaussian_process"].log_prob(gaussian, jnp.asarray(Z)[:, None]).sum()
    for nu in (1e3, 1e5, 1e7, 1e30):
        joint = STUDENT_T.log_prob(make_params(nu), jnp.asarray(Z)[:, None]).sum()
        np.testing.assert_allclose(joint, exact, atol=10 / nu + 1e-12)


@pytest.mark.parametrize("nu", [1e3, 1e6, 1e10, 1e30])
def test_large_nu_in_float32_over_an_image(nu):
    """784 equal dimensions at nu = 1e6: the difference of two gammaln loses 48 nats; here errors stay at rounding."""
    dim, size = 784, 20
    z = np.float32(np.random.default_rng(0).normal(size=(size, dim)))
    moments = (0.0, 1.0, 0.1, nu)
    joint = STUDENT_T.log_prob(
        student_t_process.from_moments(*(jnp.full(dim, value, jnp.float32) for value in moments)), jnp.asarray(z)
    )
    with jax.enable_x64(True):
        params = student_t_process.from_moments(*(jnp.full(dim, np.float64(np.float32(value))) for value in moments))
        exact = STUDENT_T.log_prob(params, jnp.asarray(np.float64(z)))
    np.testing.assert_allclose(joint, exact, rtol=1e-6)


def test_outliers_of_any_size_have_finite_densities_and_gradients():
    params = make_params(dtype=jnp.float32)
    grad = jax.jit(jax.value_and_grad(lambda *args: student_t_process.log_prob(*args).sum(), argnums=(0, 1)))
    for size in (1e3, 1e9, 1e18):
        z_set = jnp.array([[0.1], [size], [0.2]], jnp.float32)
        value, grads = grad(params, z_set)
        assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_state_of_the_gaussian_process_is_refused():
    gaussian = gaussian_process.from_moments(jnp.zeros(1), jnp.ones(1), jnp.zeros(1))
    with pytest.raises(ValueError, match=r"state: expected one with scatter.*student_t_process\.init_state"):
        student_t_process.predictive(make_params(), gaussian_process.init_state(gaussian))
