"""States know their model: they pass through JAX and copies, and another model refuses them in one line."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.api import TrainedModel
from exflow.config import base_config
from tests.evaluation.toy import toy_model, toy_params
from tests.evaluation.toy_data import image_sets

X = image_sets([4]).images
OTHERS = {
    "parameters": TrainedModel(toy_model(), toy_params(4, covariance=0.5)),
    "name": TrainedModel(toy_model()._replace(name="another"), toy_params(4)),
    "options": TrainedModel(toy_model(), toy_params(4), base_config("set_vae")),
}


@pytest.fixture(scope="module")
def model():
    return TrainedModel(toy_model(), toy_params(4), base_config("bruno"))


@pytest.mark.parametrize("other", OTHERS)
def test_a_state_of_another_model_is_refused(model, other):
    state = OTHERS[other].update(OTHERS[other].init_state(), X)
    for name, call in {
        "state": lambda: model.update(state, X),
        "state:": lambda: model.remove(state, X[0]),
        "state: ": lambda: model.log_prob(state, X),
        "a": lambda: model.merge(state, model.init_state()),
        "b": lambda: model.merge(model.init_state(), state),
        "state: expected": lambda: model.sample(state, 0, 1),
    }.items():
        with pytest.raises(ValueError, match=rf"^{name}.* of this model.*got one of .*Use init_state\.$") as error:
            call()
        assert "\n" not in str(error.value)


def test_the_same_model_again_takes_the_state(model):
    again = TrainedModel(toy_model(), toy_params(4), base_config("bruno"))
    unknown = TrainedModel(toy_model(), toy_params(4))  # without a configuration
    state = model.update(model.init_state(), X[:2])
    for other in (again, unknown):
        np.testing.assert_array_equal(other.log_prob(state, X[2:]), model.log_prob(state, X[2:]))


@pytest.mark.parametrize(
    "passed",
    [
        jax.jit(lambda state: state),
        lambda state: jax.tree.map(np.asarray, state),
        jax.device_get,
        lambda state: copy.deepcopy(jax.device_get(state)),  # by the protocol of pickle
        lambda state: jax.tree.map(lambda leaf: leaf[0], jax.vmap(lambda s: s)(jax.tree.map(lambda a: a[None], state))),
    ],
)
def test_states_pass_through(model, passed):
    state = model.update(model.init_state(), X[:2])
    moved = passed(state)
    np.testing.assert_array_equal(model.log_prob(moved, X[2:]), model.log_prob(state, X[2:]))
    with pytest.raises(ValueError, match="expected one of this model"):
        OTHERS["parameters"].log_prob(moved, X)
    assert jnp.shape(moved.content.count) == ()
