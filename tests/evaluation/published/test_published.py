"""Which published number stands beside which result, and how the data files look."""

import pytest

from exflow.config import base_config
from exflow.evaluation import published

OMNIGLOT = {"data__dataset": "omniglot", "data__split": "vinyals"}
ONE = "few_shot/20way_1shot"


def config_with(**overrides):
    config = base_config("bruno")
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in overrides.items()})
    return config


def test_published_likelihoods():
    assert published.find(config_with(**OMNIGLOT), "test_nll")["value"] == 537.043
    student_t = config_with(**OMNIGLOT, model__bruno__process="student_t")
    assert published.find(student_t, "test_nll_prior")["value"] == 546.987
    assert published.find(student_t, "train_bits_per_dim")["value"] == 0.806
    colour = config_with(data__dataset="cifar10", data__image_size=32)
    assert published.find(colour, "test_nll")["value"] == 7781.070
    dense = config_with(data__dataset="mnist", model__bruno__scales=0)
    assert published.find(dense, "test_nll")["value"] == 848.537


@pytest.mark.parametrize(
    "change",
    [
        {"data__dataset": "glyphs"},
        {"data__downscale": 2},
        {"data__image_size": 14},
        {"data__resize": "area"},
        {"evaluation__nll_set_size": 8},
        {"model__family": "other"},
    ],
)
def test_no_published_likelihood_for_another_protocol(change):
    assert published.find(config_with(**{**OMNIGLOT, **change}), "test_nll") is None
    assert published.find(config_with(**OMNIGLOT), "validation_nll") is None
    assert published.find(config_with(**OMNIGLOT), "test_nll_bound") is None


def test_published_accuracies():
    assert published.find(config_with(**OMNIGLOT), ONE)["value"] == 69.2
    assert published.find(config_with(**OMNIGLOT), "few_shot_original/20way_1shot")["value"] == 69.2
    fine_tuned = published.find(config_with(**OMNIGLOT, objective__discriminative_weight=1.0), "few_shot/5way_5shot")
    assert fine_tuned["value"] == 99.4
    assert fine_tuned["source"].endswith("arXiv:1802.07535, discriminative fine-tuning")
    small = published.find(config_with(**OMNIGLOT, data__downscale=2), "few_shot/5way_1shot")
    assert small["source"].endswith("on 28x28 images")
    assert published.find(config_with(**OMNIGLOT), f"validation_{ONE}") is None
    assert published.find(config_with(**OMNIGLOT), "few_shot_midpoint/20way_1shot") is None
    assert published.find(config_with(**OMNIGLOT), "few_shot/10way_1shot") is None
    assert published.find(config_with(data__split="vinyals"), ONE) is None
    assert published.find(config_with(data__dataset="omniglot"), ONE) is None


@pytest.mark.parametrize("path", sorted(published.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_rows_are_found_by_their_names(path):
    rows = published.rows(path.stem)
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.source
        assert published.numbers(path.stem, row.name) == row.results
        assert all(isinstance(value, float) for value in row.results.values())
    assert published.numbers(path.stem, "nothing") == {}
    flat = {f"{key}": value for key, value in base_config(path.stem).items()}
    for key in {key for row in rows for key in {**(row.when or {}), **row.no_note_when}}:
        section = flat
        for part in key.split("."):
            section = section[part]  # every condition is on a key that configurations have
