"""Building models: equal configurations share one, and nobody can change it afterwards."""

import pytest

from exflow.config import base_config
from exflow.models import registry
from tests.evaluation.toy import toy_model


@pytest.fixture
def toy(monkeypatch):
    """A model that asks its configuration at the time of the call."""

    def build(config, image_shape):
        return toy_model(image_shape)._replace(group_of=lambda name: str(config.model.bruno.filters))

    monkeypatch.setitem(registry.FAMILIES, "bruno", build)


@pytest.mark.usefixtures("toy")
def test_equal_configurations_share_a_model():
    config, equal, other = (base_config("bruno") for _ in range(3))
    other.training.seed = 7
    first = registry.build(config, (4, 4, 1))
    assert registry.build(equal, (4, 4, 1)) is first
    assert registry.build(other, (4, 4, 1)) is not first
    assert registry.build(equal, (8, 8, 1)) is not first
    config.model.bruno.filters = 3
    assert first.group_of("") == "64"
    assert registry.build(config, (4, 4, 1)) is not first


@pytest.mark.usefixtures("toy")
def test_only_the_last_models_are_kept(monkeypatch):
    monkeypatch.setattr(registry, "_BUILT", {})
    shapes = [(size, size, 1) for size in range(1, registry.MAX_BUILT + 2)]
    built = [registry.build(base_config("bruno"), shape) for shape in shapes]
    assert registry.build(base_config("bruno"), shapes[-1]) is built[-1]
    assert registry.build(base_config("bruno"), shapes[0]) is not built[0]
