"""Identities of every process of the registry, against dense matrices in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.core.process_cases import Moments, random_moments, random_set
from tests.core.registry import COMPILED, NAMES, PROCESSES

pytestmark = pytest.mark.parametrize("name", NAMES)

DIM = 6


def draw(seed: int, shape: tuple[int, ...] = (7,), max_correlation: float = 0.999):
    rng = np.random.default_rng(seed)
    moments = random_moments(rng, DIM, max_correlation)
    return moments, random_set(rng, moments, shape)


def state_of(name, params, z, mask=None):
    process = COMPILED[name]
    return process.update_set(params, PROCESSES[name].module.init_state(params), jnp.asarray(z), mask)


@functools.cache
def dense_steps(name: str, seed: int, size: int):
    """Moments, a set, and its log densities step by step from dense matrices."""
    moments, z = draw(seed, (size,))
    return moments, z, PROCESSES[name].dense_steps(moments, z)


@pytest.mark.parametrize("form", ["log_prob", "log_prob_recurrent", "log_prob_parallel"])
@pytest.mark.parametrize("size", [1, 7, 60])
def test_each_step_is_the_ratio_of_dense_joints(x64, name, size, form):
    for seed in range(3):
        moments, z, expected = dense_steps(name, seed, size)
        log_probs = getattr(COMPILED[name], form)(PROCESSES[name].params(moments), jnp.asarray(z))
        np.testing.assert_allclose(log_probs, expected, rtol=1e-10, atol=1e-9)
        np.testing.assert_allclose(log_probs.sum(), expected.sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", ["log_prob_recurrent", "log_prob_parallel"])
def test_float32(name, form):
    """Data and parameters rounded to float32 first; the remaining error is that of the arithmetic."""
    case = PROCESSES[name]
    moments, z = draw(3, (60,), max_correlation=0.95)
    moments, z = Moments(*(np.float32(value) for value in moments)), np.float32(z)
    log_probs = getattr(COMPILED[name], form)(case.params(moments), jnp.asarray(z))
    assert log_probs.dtype == jnp.float32
    exact = case.dense_steps(Moments(*map(np.float64, moments)), np.float64(z))
    np.testing.assert_allclose(log_probs, exact, atol=1e-4, rtol=1e-5)


def test_streaming_equals_closed_form(x64, name):
    """init_state, predictive_log_prob and update reproduce log_prob; the predictive has the dense moments."""
    case = PROCESSES[name]
    moments, z = draw(4)
    params, z_set = case.params(moments), jnp.asarray(z)
    state = case.module.init_state(params)
    log_probs = COMPILED[name].log_prob_parallel(params, z_set)
    for n in range(len(z)):
        predictive = COMPILED[name].predictive(params, state)
        mean, variance = case.dense_predictive(moments, z[:n])
        np.testing.assert_allclose(predictive.mean, mean, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(predictive.variance, variance, rtol=1e-10)
        step = COMPILED[name].predictive_log_prob(params, state, z_set[n])
        np.testing.assert_allclose(step, log_probs[n], rtol=1e-11, atol=1e-11)
        state = COMPILED[name].update(params, state, z_set[n])
        assert int(state.count) == n + 1


def test_permutation_invariance(x64, name):
    case = PROCESSES[name]
    moments, z = draw(5, (60,))
    params, order = case.params(moments), np.random.default_rng(0).permutation(60)
    for form in ("log_prob_recurrent", "log_prob_parallel"):
        joint, permuted = (getattr(COMPILED[name], form)(params, jnp.asarray(x)).sum() for x in (z, z[order]))
        np.testing.assert_allclose(joint, permuted, rtol=1e-11)
    query = jnp.asarray(z[0] + 1)
    one, other = (COMPILED[name].predictive_log_prob(params, state_of(name, params, x), query) for x in (z, z[order]))
    np.testing.assert_allclose(one, other, rtol=1e-11)


@pytest.mark.parametrize("size", [0, 3])
def test_marginalisation(x64, name, size):
    """The integral over z_n of joint_n is joint_{n-1}: double-exponential quadrature, tails of nu = 2.05 included."""
    case = PROCESSES[name]
    for dimension in range(DIM):
        moments, z = draw(6, (size,))
        moments, z = Moments(*(value[dimension : dimension + 1] for value in moments)), z[:, dimension : dimension + 1]
        t = np.linspace(-4.5, 4.5, 4001)
        points = moments.mean + np.sqrt(moments.variance) * np.sinh(0.5 * np.pi * np.sinh(t))
        slopes = np.sqrt(moments.variance) * np.cosh(0.5 * np.pi * np.sinh(t)) * 0.5 * np.pi * np.cosh(t)
        params = case.params(moments)
        log_probs = COMPILED[name].predictive_log_prob(params, state_of(name, params, z), jnp.asarray(points[:, None]))
        integral = (np.exp(log_probs) * slopes).sum() * (t[1] - t[0])
        np.testing.assert_allclose(integral, 1.0, atol=1e-9)


def test_leave_one_out(x64, name):
    case = PROCESSES[name]
    moments, z = draw(7)
    scores = COMPILED[name].leave_one_out_log_prob(case.params(moments), jnp.asarray(z))
    joint = case.dense_joint(moments, z)
    expected = [joint - case.dense_joint(moments, np.delete(z, n, axis=0)) for n in range(len(z))]
    np.testing.assert_allclose(scores, expected, rtol=1e-10, atol=1e-10)


def test_leave_one_out_with_an_outlier_in_float32(name):
    """The outlier must not leave rounding errors in the score of anything: compare with float64."""
    case = PROCESSES[name]
    moments, z = draw(8, (7,), max_correlation=0.9)
    moments = Moments(*(np.float32(value) for value in moments))
    z = np.float32(z)
    z[3] += 1e4
    scores = COMPILED[name].leave_one_out_log_prob(case.params(moments), jnp.asarray(z))
    with jax.enable_x64(True):
        exact = COMPILED[name].leave_one_out_log_prob(
            case.params(Moments(*map(np.float64, moments))), jnp.asarray(np.float64(z))
        )
    np.testing.assert_allclose(scores, exact, rtol=1e-5)


MASK = np.array([[True, False, True, True, False, True, False], [False] * 7, [True] * 7, [False] * 6 + [True]])


@pytest.mark.parametrize("form", ["log_prob_recurrent", "log_prob_parallel", "leave_one_out_log_prob"])
def test_masked_elements_do_not_exist(x64, name, form):
    """Ragged sets with NaN in the holes equal the dense density of what is there; gradients are those too."""
    case = PROCESSES[name]
    moments, z = draw(9, (4, 7))
    params = case.params(moments)
    holes = jnp.asarray(np.where(MASK[..., None], z, np.nan))

    def total(params, z_set, mask):
        log_probs = getattr(case.module, form)(params, z_set, mask)
        return log_probs.sum(), log_probs

    grad = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
    (params_grad, z_grad), log_probs = jax.tree.map(np.asarray, grad(params, holes, jnp.asarray(MASK)))
    np.testing.assert_array_equal(log_probs[~MASK], 0.0)
    np.testing.assert_array_equal(z_grad[~MASK], 0.0)
    for row, mask in enumerate(MASK):
        kept = z[row][mask]
        expected = case.dense_steps(moments, kept)
        if form == "leave_one_out_log_prob":
            expected = [
                expected.sum() - case.dense_joint(moments, np.delete(kept, n, axis=0)) for n in range(len(kept))
            ]
        np.testing.assert_allclose(log_probs[row][mask], expected, rtol=1e-10, atol=1e-9)
    filled = jnp.asarray(np.where(MASK[..., None], z, 123.0))
    (other_params_grad, other_z_grad), _ = grad(params, filled, jnp.asarray(MASK))
    jax.tree.map(np.testing.assert_array_equal, (params_grad, z_grad), (other_params_grad, other_z_grad))
    (_, kept_grad), _ = grad(params, jnp.asarray(z[0][MASK[0]]), None)
    np.testing.assert_allclose(z_grad[0][MASK[0]], kept_grad, rtol=1e-9, atol=1e-10)
    assert all(np.isfinite(leaf).all() for leaf in params_grad)


def test_merge_is_the_state_of_the_union(x64, name):
    case = PROCESSES[name]
    moments, z = draw(10, (9,))
    params = case.params(moments)
    empty = case.module.init_state(params)
    whole = state_of(name, params, z)
    one_by_one = empty
    for n in range(9):
        one_by_one = COMPILED[name].update(params, one_by_one, jnp.asarray(z[n]))
    pieces = [state_of(name, params, z[:4]), state_of(name, params, z[4:5]), state_of(name, params, z[5:])]
    left = COMPILED[name].merge(params, COMPILED[name].merge(params, pieces[0], pieces[1]), pieces[2])
    right = COMPILED[name].merge(params, pieces[2], COMPILED[name].merge(params, pieces[1], pieces[0]))
    with_empty = COMPILED[name].merge(params, empty, COMPILED[name].merge(params, whole, empty))
    continued = COMPILED[name].update_set(params, pieces[0], jnp.asarray(z[4:]))
    for state in (one_by_one, left, right, with_empty, continued):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), state, whole)
    both_empty = COMPILED[name].merge(params, empty, empty)
    jax.tree.map(np.testing.assert_array_equal, both_empty, empty)


def test_removal_undoes_update(x64, name):
    case = PROCESSES[name]
    moments, z = draw(11)
    params = case.params(moments)
    state = state_of(name, params, z)
    removed = COMPILED[name].remove(params, state, jnp.asarray(z[2]))
    expected = state_of(name, params, np.delete(z, 2, axis=0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), removed, expected)
    for n in np.random.default_rng(0).permutation(len(z)):
        state = COMPILED[name].remove(params, state, jnp.asarray(z[n]))
    jax.tree.map(np.testing.assert_array_equal, state, case.module.init_state(params))


@pytest.mark.parametrize("form", ["log_prob_recurrent", "log_prob_parallel", "leave_one_out_log_prob"])
def test_gradients(x64, name, form):
    """Finite at covariance 0 and count 0, and equal to differences of the dense density."""
    case = PROCESSES[name]
    moments, z = draw(12, (5,))
    covariances = jnp.asarray(moments.covariance)
    assert covariances[0] == 0

    def joint(covariance, z_set):
        params = case.params(moments._replace(covariance=covariance))
        return getattr(case.module, form)(params, z_set).sum()

    covariance_grad, z_grad = jax.jit(jax.grad(joint, argnums=(0, 1)))(covariances, jnp.asarray(z))
    assert np.isfinite(covariance_grad).all()
    if form == "leave_one_out_log_prob":
        assert np.isfinite(z_grad).all()
        return
    step = 1e-5
    for d in range(DIM):
        up, down = (
            moments._replace(covariance=moments.covariance + sign * step * (np.arange(DIM) == d)) for sign in (1, -1)
        )
        if d == 1:
            continue  # correlation 0.999: the finite difference, not the gradient, is inaccurate
        numeric = (case.dense_joint(up, z) - case.dense_joint(down, z)) / (2 * step)
        np.testing.assert_allclose(covariance_grad[d], numeric, rtol=1e-5, atol=1e-6)
    direction = np.random.default_rng(0).normal(size=z.shape)
    numeric = (case.dense_joint(moments, z + step * direction) - case.dense_joint(moments, z - step * direction)) / (
        2 * step
    )
    np.testing.assert_allclose((z_grad * direction).sum(), numeric, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_class_log_probs(name, dtype):
    """All pairs at once equal the predictive density pair by pair, with classes of different counts, one empty."""
    case = PROCESSES[name]
    with jax.enable_x64(dtype == np.float64):
        moments, z = draw(13, (2, 4, 7), max_correlation=0.9)
        params = case.params(moments, dtype)
        states = COMPILED[name].update_set(
            params, case.module.init_state(params), jnp.asarray(z, dtype), jnp.asarray(np.stack([MASK, MASK[::-1]]))
        )
        queries = jnp.asarray(draw(14, (2, 5), 0.9)[1], dtype)
        scores = COMPILED[name].class_log_probs(params, states, queries)
        assert scores.shape == (2, 5, 4)
        for b, q, k in np.ndindex(2, 5, 4):
            state = jax.tree.map(lambda part, b=b, k=k: part[b, k], states)
            expected = COMPILED[name].predictive_log_prob(params, state, queries[b, q])
            tolerance = 1e-5 if dtype == np.float32 else 1e-12
            np.testing.assert_allclose(scores[b, q, k], expected, rtol=tolerance, atol=10 * tolerance)


def test_class_log_probs_in_blocks(x64, name, monkeypatch):
    case = PROCESSES[name]
    moments, z = draw(15, (3, 7))
    params = case.params(moments)
    states = COMPILED[name].update_set(params, case.module.init_state(params), jnp.asarray(z))
    queries = jnp.asarray(z.reshape(21, DIM)[:11])
    expected = COMPILED[name].class_log_probs(params, states, queries)
    monkeypatch.setattr("exflow.core.class_scores.BLOCK_ENTRIES", 4 * 3 * DIM)
    in_blocks = jax.jit(lambda *args: case.module.class_log_probs(*args))(params, states, queries)
    np.testing.assert_allclose(in_blocks, expected, rtol=1e-12)


def test_leading_axes_are_free(x64, name):
    """Batched calls equal single ones, states broadcast against elements, and vmap works."""
    case, process = PROCESSES[name], COMPILED[name]
    moments, z = draw(16, (2, 3, 5))
    params, z_set, empty = case.params(moments), jnp.asarray(z), case.module.init_state(case.params(moments))
    batched = process.log_prob_parallel(params, z_set)
    assert batched.shape == (2, 3, 5)
    mapped = jax.jit(jax.vmap(jax.vmap(case.module.log_prob_recurrent, (None, 0)), (None, 0)))(params, z_set)
    np.testing.assert_allclose(mapped, batched, rtol=1e-11, atol=1e-11)
    states = process.update_set(params, empty, z_set)
    assert states.count.shape == (2, 3)
    assert process.predictive(params, states).mean.shape == (2, 3, DIM)
    assert process.update(params, empty, z_set[..., 0, :]).count.shape == (2, 3)  # one state, many elements
    one = jax.tree.map(lambda part: part[1, 2], states)
    scores = process.predictive_log_prob(params, one, z_set)
    assert scores.shape == (2, 3, 5)
    np.testing.assert_allclose(scores[0, 1, 4], process.predictive_log_prob(params, one, z_set[0, 1, 4]), rtol=1e-12)
    assert case.module.init_state(params, (2, 3)).count.shape == (2, 3)


@pytest.mark.parametrize("form", ["log_prob_recurrent", "log_prob_parallel", "leave_one_out_log_prob"])
def test_sets_of_no_element(name, form):
    params = PROCESSES[name].module.constrain(PROCESSES[name].module.init_raw(DIM))
    nothing = jnp.zeros((2, 0, DIM))
    assert getattr(COMPILED[name], form)(params, nothing).shape == (2, 0)
    assert state_of(name, params, nothing).count.tolist() == [0, 0]


def test_masked_update_changes_nothing(x64, name):
    case = PROCESSES[name]
    moments, z = draw(17, (2, 5))
    params = case.params(moments)
    states = COMPILED[name].update_set(params, case.module.init_state(params), jnp.asarray(z))
    element = jnp.where(jnp.array([[True], [False]]), jnp.asarray(z[:, 0]), jnp.nan)
    updated = COMPILED[name].update(params, states, element, jnp.array([True, False]))
    np.testing.assert_array_equal(updated.count, [6, 5])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b[1]), updated, states)
    assert np.isfinite(COMPILED[name].predictive(params, updated).mean).all()
