"""The part of a configuration that belongs to a family of models."""

import pytest

from exflow.config import base_config, load_config, validate
from exflow.config.checks import AT_LEAST_ONE, expected
from exflow.config.families import Family, families, find_family, register_family
from exflow.config.overrides import set_value
from exflow.errors import UserError


def check(config):
    if config.model.codes.num_bits % 2:
        raise expected("model.codes.num_bits", "an even number", config.model.codes.num_bits)


CODES = Family(
    model={"num_bits": 8, "kind": "plain"},
    objective={"commitment": 1.0},
    groups=("generator",),
    choices={"model.codes.kind": ("plain", "fancy")},
    intervals={"model.codes.num_bits": AT_LEAST_ONE},
    check=check,
)


@pytest.fixture
def codes(monkeypatch):
    """A configuration of a family that is no file of the package."""
    monkeypatch.setattr("exflow.config.families._REGISTERED", {})
    register_family("codes", CODES)
    return base_config("codes")


def test_families_are_the_files_of_the_folder(repository):
    files = {path.stem for path in (repository / "exflow" / "config" / "families").glob("*.py")} - {"__init__"}
    assert set(families()) == files


def test_a_config_has_the_keys_of_its_family_alone(codes):
    assert codes.model.to_dict() == {
        "family": "codes",
        "compute_dtype": "float32",
        "block_loop": "auto",
        "codes": {"num_bits": 8, "kind": "plain"},
    }
    assert codes.objective.to_dict() == {"commitment": 1.0}
    assert codes.optimizer.groups.to_dict().keys() == {"generator"}
    assert codes.optimizer.groups.generator.learning_rate_multiplier == 1.0
    validate(codes)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.codes.kind", "odd", r"config.model.codes.kind: expected one of plain, fancy, got 'odd'"),
        ("model.codes.num_bits", 0, r"config.model.codes.num_bits: expected at least 1, got 0"),
        ("model.codes.num_bits", 3, r"config.model.codes.num_bits: expected an even number, got 3"),
        ("objective.commitment", -1.0, r"config.objective.commitment: expected at least 0, got -1.0"),
    ],
)
def test_its_checks_stand_beside_its_keys(codes, key, value, message):
    set_value(codes, key, value)
    with pytest.raises(UserError, match=message):
        validate(codes)


def test_unknown_and_taken_names(codes):
    with pytest.raises(
        UserError, match=r"config.model.family: expected one of bruno, lbae, matnet, set_vae, codes, got 'brunos'"
    ):
        find_family("brunos")
    with pytest.raises(UserError, match=r"register_family: 'bruno' is a family of exflow. Choose another name."):
        register_family("bruno", CODES)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"hidden": "6"}, r"config.model.set_vae.hidden: expected a multiple of 4, got 6"),
        (
            {"set_latent_levels": "none", "hierarchy": "vector"},
            r"class_rule: expected elbo with set_latent_levels=none, got 'kl'. A VAE has no latents",
        ),
    ],
)
def test_contradictions_of_set_vaes(overrides, message):
    with pytest.raises(UserError, match=message):
        load_config("set_vae_omniglot", [(f"model.set_vae.{key}", text) for key, text in overrides.items()])
