"""What is fitted after training: fitted once per checkpoint, read back bit for bit, never taken for another's."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.errors import UserError
from exflow.model import Sampler, TrainingCodes
from exflow.training.fitted import CODES as CODES_FILE
from exflow.training.fitted import file_of, fitted_codes
from tests.training.toy import toy_model

PARAMS = {"flow": {"scale": np.float32(2.0)}, "process": {"mean": np.zeros(3, np.float32)}}
CODES = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
FACTS = np.arange(7, dtype=np.int32), np.eye(7, 2, dtype=np.uint8), ("left", "right")


def fit(codes, method):
    if method == "moments":
        return {"mean": codes.astype(np.float64).mean(axis=0), "number": np.array(len(codes))}
    return {"largest": codes.max(axis=0)}


MODEL = toy_model()._replace(sampler=Sampler(("moments", "largest"), fit, None))


def counted():
    """Codes, and how often they were asked for."""
    calls = []

    def codes():
        calls.append(1)
        return TrainingCodes(CODES, *FACTS)

    return codes, calls


def test_it_is_fitted_once_per_checkpoint_and_method(tmp_path):
    codes, calls = counted()
    fitted = fitted_codes(tmp_path, MODEL, PARAMS, 5, codes)
    assert calls == []  # only when it is asked for
    first = fitted.by("")
    np.testing.assert_array_equal(first["mean"], CODES.astype(np.float64).mean(axis=0))
    assert fitted.by("moments") is first
    again = fitted_codes(tmp_path, MODEL, jax.tree.map(jnp.asarray, PARAMS), 5, None).by("moments")
    chex.assert_trees_all_equal(again, first)
    assert len(calls) == 1
    np.testing.assert_array_equal(fitted.by("largest")["largest"], CODES.max(axis=0))
    stored = [tmp_path / CODES_FILE, file_of(tmp_path, "largest"), file_of(tmp_path, "moments")]
    assert sorted(tmp_path.iterdir()) == stored
    chex.assert_trees_all_equal(fitted_codes(tmp_path, MODEL, PARAMS, 5, None).training(), TrainingCodes(CODES, *FACTS))


def test_bits_are_packed(tmp_path):
    bits = CODES > 0
    given = TrainingCodes(np.repeat(bits, 30, axis=1), *FACTS)
    fitted_codes(tmp_path, MODEL, PARAMS, 5, lambda: given).training()
    with np.load(tmp_path / CODES_FILE) as file:
        assert file["codes"].shape == (7, 19)  # 150 bits
    chex.assert_trees_all_equal(fitted_codes(tmp_path, MODEL, PARAMS, 5, None).training(), given)


@pytest.mark.parametrize("other", ["step", "parameters", "damaged"])
def test_another_checkpoint_is_fitted_anew(tmp_path, other):
    codes, calls = counted()
    path = file_of(tmp_path, "moments")
    before = fitted_codes(tmp_path, MODEL, PARAMS, 5, codes).by("moments")
    params = {**PARAMS, "flow": {"scale": np.float32(3.0)}} if other == "parameters" else PARAMS
    if other == "damaged":
        path.write_bytes(path.read_bytes()[:-50])
    step = 6 if other == "step" else 5
    with pytest.raises(UserError, match=r"has not been fitted by method moments. Use --mode=sample"):
        fitted_codes(tmp_path, MODEL, params, step, None).by("moments")
    after = fitted_codes(tmp_path, MODEL, params, step, codes).by("moments")
    assert len(calls) == 2 - (other == "damaged")  # the codes are stored by themselves
    chex.assert_trees_all_equal(after, before)
    chex.assert_trees_all_equal(fitted_codes(tmp_path, MODEL, params, step, None).by("moments"), after)


def test_nothing_is_fitted_without_a_sampler(tmp_path):
    codes, calls = counted()
    assert fitted_codes(tmp_path, toy_model(), PARAMS, 5, codes) is None
    assert calls == []
    assert not list(tmp_path.iterdir())


def test_errors_are_one_line(tmp_path):
    codes, _ = counted()
    with pytest.raises(UserError, match="sampling method: expected one of moments, largest, got 'mode'"):
        fitted_codes(tmp_path, MODEL, PARAMS, 5, codes).by("mode")
    with pytest.raises(UserError, match=r"codes.npz: cannot be written .*change --workdir"):
        fitted_codes(tmp_path / "nowhere", MODEL, PARAMS, 5, codes).by("moments")
