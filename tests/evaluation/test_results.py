"""results.json, the closing table, and which published number stands beside which result."""

import json
import re

import numpy as np
import pytest

from exflow.config import base_config
from exflow.evaluation import results
from exflow.evaluation.published import published_accuracy, published_nll


def config_with(**overrides):
    config = base_config("bruno")
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in overrides.items()})
    return config


OMNIGLOT = {"data__dataset": "omniglot", "data__split": "vinyals"}


def test_published_likelihoods():
    assert published_nll(config_with(**OMNIGLOT), "test", prior=False)["value"] == 537.043
    student_t = config_with(**OMNIGLOT, model__bruno__process="student_t")
    assert published_nll(student_t, "test", prior=True)["value"] == 546.987
    assert published_nll(student_t, "train", prior=False, bits=True)["value"] == 0.806
    assert published_nll(config_with(data__dataset="cifar10", data__image_size=32), "test", False)["value"] == 7781.070


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
    assert published_nll(config_with(**{**OMNIGLOT, **change}), "test", prior=False) is None


def test_published_accuracies():
    assert published_accuracy(config_with(**OMNIGLOT), "test", 20, 1)["value"] == 69.2
    fine_tuned = config_with(**OMNIGLOT, objective__discriminative_weight=1.0)
    assert published_accuracy(fine_tuned, "test", 5, 5)["value"] == 99.4
    small = published_accuracy(config_with(**OMNIGLOT, data__downscale=2), "test", 5, 1)
    assert small["source"].endswith("on 28x28 images")
    assert published_accuracy(config_with(**OMNIGLOT), "validation", 20, 1) is None
    assert published_accuracy(config_with(**OMNIGLOT), "test", 10, 1) is None
    assert published_accuracy(config_with(), "test", 20, 1) is None


def entries():
    published = {"value": 69.2, "source": "Somebody 2018"}
    return {
        "few_shot/20way_1shot": results.result(71.234, "%", "p" * 200, published, ci95=0.5),
        "test_nll": results.result(float("nan"), "nats/image", "a protocol", standard_error=float("nan")),
    }


def test_document_is_valid_json_and_replaces_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    params = {"a": np.zeros((2, 3)), "b": np.zeros(4)}
    content = results.document(config_with(**OMNIGLOT), 17, params, entries(), {"training_seconds": np.float32(1.5)})
    results.write_results(path, content)
    read = json.loads(path.read_text())
    assert (read["step"], read["num_parameters"], read["training_seconds"], read["seed"]) == (17, 10, 1.5, 0)
    assert read["config"]["data"]["dataset"] == "omniglot"
    assert read["config"]["evaluation"]["settings"] == [[5, 1], [5, 5], [20, 1], [20, 5]]
    entry = read["results"]["few_shot/20way_1shot"]
    assert set(entry) == {"value", "unit", "ci95", "protocol", "published"}
    assert entry["published"] == {"value": 69.2, "source": "Somebody 2018"}
    assert read["results"]["test_nll"]["value"] is None  # NaN is not JSON
    assert read["results"]["test_nll"]["published"] is None
    assert read["hardware"]["num_devices"] >= 1
    assert {"python", "jax", "numpy"} <= set(read["versions"])
    assert read["commit"] is None or re.fullmatch("[0-9a-f]{40}(-dirty)?", read["commit"])
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_a_copy_without_history_is_told_its_commit(monkeypatch):
    monkeypatch.setenv("EXFLOW_COMMIT", "f" * 40)
    assert results.commit() == "f" * 40


def test_table_shows_value_spread_published_and_protocol():
    lines = results.table(entries()).splitlines()
    assert lines[0].split() == ["result", "value", "published", "protocol"]
    assert lines[2].split()[:6] == ["few_shot/20way_1shot", "71.23", "+-", "0.50", "%", "69.20"]
    assert lines[2].endswith("...")
    assert lines[3].split()[:4] == ["test_nll", "nan", "nats/image", "-"]
    assert lines[4] == "published: Somebody 2018"
