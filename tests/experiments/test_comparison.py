"""What the likelihoods that `python -m experiments comparison` puts beside each other are of."""

from types import SimpleNamespace

import pytest

from exflow.models.registry import build
from experiments.several import scored
from experiments.subject import Subject
from tests.models.registry import TINY_IMAGES, small_config


@pytest.mark.parametrize(
    ("likelihood", "channels", "expected"),
    [
        ("bernoulli", 3, "binarised levels of 3 colours, 28x28"),
        ("discretized_gaussian", 1, "gray levels, 28x28"),  # a bound on their probability, as BRUNO's
        ("logistic_mixture", 3, "levels of 3 colours, 28x28"),
        ("gaussian_pixels", 1, "gray levels as real numbers (gaussian_pixels), 28x28"),
        ("gaussian", 2, "vectors of 2"),
    ],
)
def test_what_a_likelihood_is_of(likelihood, channels, expected):
    config = small_config(**(TINY_IMAGES | {"model__set_vae__likelihood": likelihood}))
    shape = (1, 1, channels) if likelihood == "gaussian" else (28, 28, channels)
    model = SimpleNamespace(core=build(config, shape))
    assert scored(Subject(model, config, {}, 0)) == expected
