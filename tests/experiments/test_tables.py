"""The tables of the README: which runs are averaged, and that they hold what the files say."""

import json

from exflow.config import load_config
from experiments import set_vae_tables, table, table_parts


def test_runs_on_other_data_are_not_averaged_with_a_configs_own():
    config = json.loads(load_config("bruno_omniglot:cpu").to_json())
    assert table_parts.title(config) == "bruno_omniglot:cpu"
    config["training"]["seed"] = 3
    assert table_parts.title(config) == "bruno_omniglot:cpu"
    config["data"]["dataset"], config["data"]["split"] = "omniglot_ns", "standard"
    assert table_parts.title(config) == "bruno_omniglot:cpu on omniglot_ns, standard"


def test_what_is_said_of_a_table_comes_from_the_entries():
    entries = [
        {"protocol": "bound; 1692 sets of 5 test images, 1 draw", "standard_error": 0.74},
        {"protocol": "bound; 300 sets of 5 test images, 1 draw", "standard_error": 1.58},
    ]
    assert set_vae_tables._told(r"(\d+) sets", entries) == "300 or 1,692"
    assert set_vae_tables._range(entries, "standard_error") == "0.7 to 1.6"
    assert set_vae_tables._range(entries[:1], "standard_error") == "0.7"


def test_the_readme_holds_what_the_files_say():
    text = table.README.read_text()
    assert table.updated(text) == text
