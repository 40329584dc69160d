"""Compilations of the Python API: after a warm-up, or after every shape was met, a service of random sizes has none."""

import jax
import numpy as np
import pytest

from benchmarks.service import Service, compilations
from exflow.api import TrainedModel
from exflow.evaluation import compiled
from exflow.models.registry import build
from exflow.padding import call_sizes, in_calls, sizes_of_calls
from exflow.warmup import CALLS, Sizes, least_numbers
from tests.evaluation.toy import toy_model, toy_params
from tests.models.parameters import random_params
from tests.models.registry import MODELS
from tests.test_api_capabilities import coder  # noqa: F401 - a fixture

SIZES_OF_SERVICE = Sizes(set_size=3, num_sets=2, num_classes=3, num_images=3, num_samples=2)


def compiled_by(service: Service, requests: int) -> tuple[int, set[str]]:
    """Programs compiled while a service answers, and what it was asked."""
    before = compilations()
    asked = {service.request() for _ in range(requests)}
    return compilations() - before, asked


def test_a_service_compiles_nothing_after_warmup():
    model = TrainedModel(toy_model(), toy_params(4))
    before = compilations()
    model.warmup(**SIZES_OF_SERVICE._asdict())
    of_warmup = compilations() - before
    assert 0 < of_warmup < 80
    number, asked = compiled_by(Service(model, SIZES_OF_SERVICE), 120)
    assert number == 0
    assert asked == set(CALLS) - {"reconstruct"}  # every call was made


@pytest.mark.slow
def test_a_service_without_warmup_compiles_no_more_than_warmup_would():
    warm, model = (TrainedModel(toy_model(), toy_params(4)) for _ in range(2))
    before = compilations()
    warm.warmup(**SIZES_OF_SERVICE._asdict())
    of_warmup = compilations() - before
    assert 0 < compiled_by(Service(model, SIZES_OF_SERVICE, seed=1), 100)[0] <= of_warmup
    assert compiled_by(Service(model, SIZES_OF_SERVICE, seed=1), 100)[0] == 0  # the same sizes once more


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bruno_gaussian", "bruno_conditional", "ns"])
def test_real_models_compile_nothing_after_warmup(name):
    core = build(MODELS[name], (1, 1, 2) if name == "ns" else (8, 8, 1))
    model = TrainedModel(core, random_params(core, MODELS[name]), MODELS[name])
    model.warmup(**SIZES_OF_SERVICE._asdict())
    number, asked = compiled_by(Service(model, SIZES_OF_SERVICE), 150)
    assert number == 0
    assert len(asked) >= len(CALLS) - 1


def test_only_what_is_asked_for():
    model = TrainedModel(toy_model(), toy_params(4))
    model.warmup(set_size=2, num_images=1, calls=("update", "log_prob"))
    x = np.zeros((2, 2, 2, 1), np.uint8)
    before = compilations()
    state = model.update(model.update(model.init_state(), x[0]), x)
    model.log_prob(state, x[1])
    assert compilations() == before
    model.set_log_prob(x)
    assert compilations() > before


def test_what_a_model_cannot_do_is_left_out(coder):  # noqa: F811
    coder.warmup(set_size=2, num_images=2, num_samples=2)
    x = np.zeros((2, 2, 2, 1), np.uint8)
    before = compilations()
    coder.reconstruct(x), coder.encode(x), coder.sample(None, 0, 2)
    assert compilations() == before


def test_errors():
    model = TrainedModel(toy_model(), toy_params(4))
    with pytest.raises(ValueError, match=r"calls: expected names out of update, .*, got 'classification'. Correct it"):
        model.warmup(calls=["classification"])
    with pytest.raises(ValueError, match="set_size: expected at least 1, got 0. Give the largest"):
        model.warmup(set_size=0)


def test_sizes_of_calls():
    met = set()
    for number in (*range(1, 140), 10_000):
        sizes = sizes_of_calls(number)
        assert number <= sum(sizes) <= 2 * number
        assert all(size % 2 == 0 for size in sizes)  # of the two devices
        met |= set(sizes)
        assert max(call_sizes(number)) <= max(sizes)
        assert met <= {max(2, size) for size in call_sizes(max(number, 64))}
    assert [sizes_of_calls(number) for number in (3, 5, 17, 33)] == [[2, 2], [8], [8, 8, 2], [64]]
    assert [call_sizes(number) for number in (3, 4, 32, 33)] == [[1], [1, 8], [1, 8], [1, 8, 64]]
    assert least_numbers(9) == [1, 2, 3, 5, 9]


def test_calls_hold_every_row_in_its_order():
    rows = np.arange(75)
    for number in (1, 6, 17, 75):
        found = np.concatenate(list(in_calls(rows[:number])))
        np.testing.assert_array_equal(found[:number], rows[:number])
        assert (found[number:] == number - 1).all()
    assert [part.shape for part in in_calls(np.zeros((0, 3)))] == [(2, 3)]


def test_any_number_of_samples_needs_few_decoders_and_is_what_one_program_gives():
    config = MODELS["bruno_gaussian"]
    core = build(config, (8, 8, 1))
    model = TrainedModel(core, random_params(core, config))
    content, key = model.init_state().content, jax.random.key(1)
    whole = compiled.sample(core, model.params, content, key, 8, False)
    found = model.sample(model.init_state(), key, 7)
    assert np.abs(found.astype(int) - np.asarray(whole, int)[:7]).max() <= 1  # pixels are rounded
    before = compilations()
    for number in (4, 5, 6, 8):
        model.sample(model.init_state(), key, number)
    assert compilations() == before + 1  # draws of four latent vectors
