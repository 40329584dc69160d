"""Programs that are compiled quickly: the same values, and options only where XLA knows them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.evaluation import quick_jit


def product_of_first(power, x, y):
    return jnp.tanh(x @ y) ** power


def test_the_same_values():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 20)).astype(np.float32), rng.normal(size=(20, 5)).astype(np.float32)
    found = quick_jit.quick_jit(product_of_first, static_argnums=0)(3, x, y)
    expected = jax.jit(product_of_first, static_argnums=0)(3, x, y)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, np.tanh(x.astype(np.float64) @ y) ** 3, atol=1e-6)


@pytest.mark.parametrize(
    ("backend", "version", "options"),
    [("cpu", (0, 10, 2), quick_jit.ON_CPU), ("gpu", (0, 10, 2), None), ("cpu", (0, 11, 0), None)],
)
def test_options_only_where_they_are_known(monkeypatch, backend, version, options):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "__version_info__", version)
    assert quick_jit.compiler_options.__wrapped__() == options
