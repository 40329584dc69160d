"""What is fitted after training: fitted once per checkpoint, read back bit for bit, never taken for another's."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.errors import UserError
from exflow.model import Sampler
from exflow.training.fitted import FILE, fitted, read_fitted
from tests.training.toy import DIM, toy_model

PARAMS = {"flow": {"scale": np.float32(2.0)}, "process": {"mean": np.zeros(3, np.float32)}}
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 1)).astype(np.uint8)


class Moments(NamedTuple):
    """A structure of its own, with a nested part."""

    mean: jax.Array
    others: tuple[jax.Array, dict[str, jax.Array]]


def fit(params, elements):
    mean = elements.mean(axis=0) * params["flow"]["scale"]
    return Moments(mean, (jnp.int32(len(elements)), {"largest": elements.max(axis=0)}))


def encode(params, key, x, context=None):
    return x.reshape(*x.shape[:-3], DIM).astype(jnp.float32)


MODEL = toy_model()._replace(encode=encode, sampler=Sampler(fit, None))


def counted():
    """Elements of the images, and how often they were asked for."""
    calls = []

    def elements():
        calls.append(1)
        return np.asarray(encode(PARAMS, None, jnp.asarray(IMAGES)))

    return elements, calls


def test_it_is_fitted_once_per_checkpoint(tmp_path):
    elements, calls = counted()
    assert read_fitted(tmp_path, MODEL, PARAMS, 5) is None
    first = fitted(tmp_path, MODEL, PARAMS, 5, elements)
    flat = IMAGES.reshape(7, DIM).astype(np.float32)
    np.testing.assert_allclose(first.mean, 2 * flat.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(first.others[1]["largest"], flat.max(axis=0))
    again = fitted(tmp_path, MODEL, jax.tree.map(jnp.asarray, PARAMS), 5, elements)
    assert isinstance(again, Moments)
    chex.assert_trees_all_equal(again, first)
    chex.assert_trees_all_equal(read_fitted(tmp_path, MODEL, PARAMS, 5), first)
    assert len(calls) == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("other", ["step", "parameters", "damaged"])
def test_another_checkpoint_is_fitted_anew(tmp_path, other):
    elements, calls = counted()
    before = fitted(tmp_path, MODEL, PARAMS, 5, elements)
    params = {**PARAMS, "flow": {"scale": np.float32(3.0)}} if other == "parameters" else PARAMS
    if other == "damaged":
        (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-50])
    step = 6 if other == "step" else 5
    assert read_fitted(tmp_path, MODEL, params, step) is None
    after = fitted(tmp_path, MODEL, params, step, elements)
    assert len(calls) == 2
    np.testing.assert_allclose(after.mean, before.mean * (1.5 if other == "parameters" else 1.0), rtol=1e-6)
    chex.assert_trees_all_equal(read_fitted(tmp_path, MODEL, params, step), after)


def test_nothing_is_fitted_without_a_sampler(tmp_path):
    elements, calls = counted()
    assert fitted(tmp_path, toy_model(), PARAMS, 5, elements) is None
    assert calls == []
    assert not list(tmp_path.iterdir())


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path):
    elements, _ = counted()
    with pytest.raises(UserError, match=r"fitted.npz: cannot be written .*change --workdir"):
        fitted(tmp_path / "nowhere", MODEL, PARAMS, 5, elements)
