"""The configs that come with exflow: every variant is valid, and every key is read."""

import re

import pytest
from ml_collections import ConfigDict

from exflow.config import available_configs, base_config, load_config
from exflow.config.families import families
from exflow.config.flat import flatten
from exflow.config.load import variants_of


def test_every_key_is_read_somewhere(repository):
    sources = [path for path in (repository / "exflow").rglob("*.py") if "config" not in path.parts]
    words = {word for path in sources for word in re.findall(r"\w+", path.read_text())}
    keys = {key for family in families() for key in flatten(base_config(family))}
    assert {key.rpartition(".")[2] for key in keys} - words == set()


VARIANTS = {name: sorted(variants_of(name)) for name in available_configs()}


@pytest.mark.parametrize("spec", [f"{name}:{variant}" for name in VARIANTS for variant in ["", *VARIANTS[name]]])
def test_every_variant_of_every_config_is_valid(spec):
    assert isinstance(load_config(spec), ConfigDict)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_config_has_a_smoke_variant(name):
    assert "smoke" in VARIANTS[name]
