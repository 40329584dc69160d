"""results.json, the closing table, and which published number stands beside which result."""

import json
import re

import numpy as np
import pytest

from exflow.config import base_config
from exflow.errors import UserError
from exflow.evaluation import results


def config_with(**overrides):
    config = base_config("bruno")
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in overrides.items()})
    return config


OMNIGLOT = {"data__dataset": "omniglot", "data__split": "vinyals"}


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


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(tmp_path):
    results.check_writable(tmp_path / "new" / "run", "--out")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("content")
    with pytest.raises(UserError, match=r"file/experiments: cannot be written \(Not a dir.*\). Choose another --out."):
        results.check_writable(tmp_path / "file" / "experiments", "--out")


def test_intervals_of_few_trials_stay_between_none_and_all() -> None:
    of_two = results.result(90.0, "%", "2 trials", ci95=127.06)
    of_many = results.result(90.0, "%", "20 trials", ci95=0.5)
    lines = results.table({"few": of_two, "many": of_many}).splitlines()
    assert "90.00 [0.00, 100.00] %" in lines[2]
    assert "90.00 +- 0.50 %" in lines[3]


def test_groups_are_one_row_of_the_table() -> None:
    groups = {
        f"test_kl_group_{n}": results.result(n + 0.5, "nats/image", f"of {n}", standard_error=0.1) for n in range(12)
    }
    lines = results.table({"test_nll": results.result(1.0, "nats/image", "all"), **groups}).splitlines()
    assert len(lines) == 4
    assert lines[3].split("  ")[0] == "test_kl of all groups"
    assert "72.00 nats/image" in lines[3]
