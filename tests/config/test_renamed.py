"""Old names of keys, wherever somebody may still write them."""

import json

import pytest

from exflow.config import base_config, from_json, load_config, to_json
from exflow.config.families import Family, families, register_family
from exflow.config.flat import flatten
from exflow.config.overrides import set_value
from exflow.config.renamed import known, table
from exflow.errors import UserError


@pytest.mark.parametrize("family", families())
def test_the_table_leads_from_names_that_are_gone_to_names_that_exist(family):
    present = flatten(base_config(family))
    for old, new in table(family).items():
        assert old not in present
        assert not new or new in present


@pytest.mark.parametrize(
    ("spec", "key", "text", "present"),
    [
        ("bruno_omniglot", "model.filters", "8", "model.bruno.filters"),
        ("bruno_omniglot", "objective.num_context", "8", "objective.num_given"),
        ("bruno_omniglot", "optimizer.process_freeze_steps", "8", "optimizer.groups.process.freeze_steps"),
        ("set_vae_omniglot", "model.set_vae.context_dim", "8", "model.set_vae.set_latent_dim"),
        ("set_vae_omniglot", "model.set_vae.level_loop", "scan", "model.block_loop"),
    ],
)
def test_overrides(spec, key, text, present):
    old, new = (load_config(spec, [(name, text)]) for name in (key, present))
    assert old.to_dict() == new.to_dict()
    assert str(flatten(new)[present]) == text


def test_keys_of_another_family_are_told_so():
    with pytest.raises(
        UserError, match=r"config.model.filters: is a key of models of the family bruno, this one is of"
    ):
        set_value(base_config("set_vae"), "model.filters", 8)
    with pytest.raises(UserError, match=r"config.objective.free_bits: is a key of .* the family matnet or set_vae"):
        set_value(base_config("bruno"), "objective.free_bits", 1.0)


def test_variants_and_lines_of_config_files(tmp_path):
    path, line = tmp_path / "old.py", "pass"
    text = (
        "from exflow.config import base_config\ndef get_config():\n    config = base_config('bruno')\n    {}\n"
        "    return config\nVARIANTS = {{'small': {{'model.filters': 8}}}}\n"
    )
    path.write_text(text.format(line))
    assert load_config(f"{path}:small").model.bruno.filters == 8
    for line in ("config.model.filters = 8", "print(config.model.filters)"):
        path.write_text(text.format(line))
        with pytest.raises(
            UserError, match=r"old.py, line 4: config.model.filters is now config.model.bruno.filters\.$"
        ):
            load_config(str(path))


def test_a_key_that_is_gone_is_told_so_and_dropped_from_what_is_stored(monkeypatch):
    monkeypatch.setattr("exflow.config.families._REGISTERED", {})
    register_family("codes", Family(model={"num_bits": 8}, renamed={"model.codes.old": ""}))
    with pytest.raises(UserError, match=r"config.model.codes.old: this key is gone, nothing reads it. Leave it out."):
        set_value(base_config("codes"), "model.codes.old", 1)
    config = from_json('{"imports": [], "model": {"family": "codes", "codes": {"num_bits": 9, "old": 1}}}')
    assert config.model.codes.to_dict() == {"num_bits": 9}


@pytest.mark.parametrize("family", families())
def test_stored_configurations_of_all_families_lose_the_keys_of_the_others(family):
    """Before `imports` was a key, files held the keys of both families, and own keys of the user beside them."""
    values = json.loads(to_json(base_config(family)))
    del values["imports"]
    for other in families():
        values["model"][other] = dict(families()[other].model)
    values["model"] |= {"filters": 3, "my_key": 1}
    values["objective"] |= {"free_bits": 2.0, "generative_weight": 2.0}
    values["optimizer"]["process_freeze_steps"] = 3
    found = flatten(from_json(json.dumps(values)))
    own = set(flatten(base_config(family)))
    assert set(found) == own | {"model.my_key"}
    assert found["model.my_key"] == 1


def test_own_keys_are_kept_though_another_family_has_them():
    config = base_config("bruno")
    with config.unlocked():
        config.objective.free_bits = 2.0
    assert "objective.free_bits" in known("set_vae")
    assert from_json(to_json(config)).objective.free_bits == 2.0


def test_a_file_without_family_is_refused():
    with pytest.raises(UserError, match=r"config.model.family: missing. Add the family"):
        from_json("{}")
