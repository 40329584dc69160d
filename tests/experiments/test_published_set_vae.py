"""Published numbers of set VAEs stand beside results of their own model, data and number of draws alone."""

from types import SimpleNamespace

import pytest

from exflow.config import base_config, load_config
from experiments.published_set_vae import published_accuracy, published_bound, published_prediction
from experiments.subject import Subject


def subject(name, tested="omniglot_ns", **overrides):
    """A model of a config, on a data set."""
    config = load_config(name, [(f"model.set_vae.{key}", str(given)) for key, given in overrides.items()])
    other = config.copy_and_resolve_references()
    other.data.dataset = tested
    return Subject(SimpleNamespace(config=config), other, {}, 0)


def test_bounds_belong_to_their_split_size_and_number_of_draws():
    ns = subject("set_vae_omniglot:ns")
    assert published_bound(ns, "test", 5)["value"] == 96.6
    assert published_bound(ns, "test", 5, 1000)["value"] == 92.4
    for split, size, draws in (("test", 3, 1), ("train", 5, 1), ("test", 5, 100), ("test", 10, 1000)):
        assert published_bound(ns, split, size, draws) is None


def test_numbers_belong_to_their_data():
    on_digits = subject("set_vae_omniglot:ns", "mnist")
    assert published_bound(on_digits, "test", 5)["value"] == 120.3
    assert published_accuracy(on_digits, "test", 10, 5)["value"] == 93.2
    on_evaluation = subject("set_vae_omniglot:ns", "omniglot_back_eval")
    assert published_bound(on_evaluation, "test", 5) is None
    assert published_prediction(on_evaluation, "test", 1, 1000)["value"] == 82.8
    assert published_prediction(on_evaluation, "test", 1, 100) is None
    assert published_prediction(on_digits, "test", 1, 1000) is None


@pytest.mark.parametrize(
    ("name", "overrides", "bound"),
    [
        ("set_vae_omniglot", {}, 88.4),
        ("set_vae_omniglot:fast_ns", {}, 96.6),
        ("set_vae_omniglot:fast_ns", {"aggregation": "mean", "sample_means": False}, 96.6),
        ("set_vae_omniglot:ns", {"hidden": 8}, None),
        ("set_vae_omniglot:fast_ns", {"set_latent_levels": "all"}, None),
        ("set_vae_omniglot:cpu_ns", {}, None),
        ("neural_statistician_omniglot", {}, None),
    ],
)
def test_bounds_belong_to_their_model(name, overrides, bound):
    found = published_bound(subject(name, **overrides), "test", 5)
    assert (found and found["value"]) == bound


@pytest.mark.parametrize(
    ("name", "overrides", "accuracy"),
    [
        ("set_vae_omniglot:ns", {}, 98.1),
        ("set_vae_omniglot:ns", {"hidden": 8}, None),
        ("set_vae_omniglot:cns", {}, None),
        ("neural_statistician_omniglot", {}, 98.1),
        ("neural_statistician_omniglot:cpu", {}, None),
    ],
)
def test_accuracies_belong_to_the_neural_statistician(name, overrides, accuracy):
    found = published_accuracy(subject(name, **overrides), "test", 5, 1)
    assert (found and found["value"]) == accuracy


def test_a_config_without_published_numbers_has_none():
    own = Subject(SimpleNamespace(config=base_config("bruno")), base_config("bruno"), {}, 0)
    assert published_bound(own, "test", 5) is published_accuracy(own, "test", 5, 1) is None


def test_sources_tell_the_table_from_curves_of_other_models():
    cns = subject("set_vae_omniglot:cns")
    assert "project page" in published_bound(cns, "test", 5)["source"]
    assert "table of 2022" in published_bound(cns, "test", 5)["source"]
    assert "table of 2021" in published_bound(subject("set_vae_omniglot:chfsgm"), "test", 5)["source"]
    assert "a curve of a model 128 wide" in published_bound(cns, "test", 10)["source"]
    assert "128 wide" not in published_bound(subject("set_vae_omniglot:ns"), "test", 10)["source"]
