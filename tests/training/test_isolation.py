"""Nothing of the test split reaches an update or a selection, whatever batches and steps are made of.

The test images of a toy data set are white and the others dark; once the data are loaded, touching the test split is an
error. A run trains, validates and keeps its best checkpoint, and its batches report their brightest pixel.
"""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from exflow.config import load_config
from exflow.data import registry
from exflow.data.registry import TEST, LabelledImages
from exflow.model import Phase
from exflow.modes import validation
from exflow.training.inputs import load_inputs
from exflow.training.loop import fit
from exflow.training.setup import set_up
from exflow.typing import Loss

FAMILIES = Path(__file__).parent.parent / "families"
DARK = 100


class Touched(Exception):
    """Something looked at the test split."""


class Forbidden:
    """A split that nobody may look at."""

    def __getattribute__(self, name):
        raise Touched(name)


@pytest.fixture
def dark_and_white():
    """A registered data set: 6 classes of 20 dark pictures, two in each split, those of test white."""

    @registry.register("dark_and_white", cache=False)
    def build() -> LabelledImages:
        labels = np.arange(120, dtype=np.int32) // 20
        split = (labels % 3).astype(np.uint8)
        images = np.random.default_rng(0).integers(0, DARK, (120, 8, 8, 1), dtype=np.uint8)
        images[split == TEST] = 255
        return LabelledImages(images, labels, split)

    yield
    del registry.REGISTRY["dark_and_white"]


def reporting(loss):
    """The same loss, with the brightest pixel of its batch as a metric."""

    def reported(params, key, batch):
        found = loss(params, key, batch)
        return Loss(found.value, found.metrics | {"brightest": batch.x_set.max().astype(jnp.float32)})

    return reported


def in_phases(model):
    """The model with a second phase, which moves its decoder alone."""
    phases = (Phase("whole", model.loss, ("encoder", "decoder")), Phase("second", model.loss, ("decoder",)))
    return model._replace(group_of=lambda name: name, phases=phases)


@pytest.mark.parametrize(
    ("family", "pipeline", "change"),
    [
        pytest.param("toy_single", "device", in_phases, id="images in phases"),
        pytest.param("toy_codes", "tfdata", lambda model: model, id="episodes", marks=pytest.mark.slow),
    ],
)
def test_training_and_validation_never_see_the_test_split(
    family, pipeline, change, dark_and_white, toy_families, tmp_path
) -> None:
    config = load_config(str(FAMILIES / f"config_{family}.py"))
    config.data.update(dataset="dark_and_white", options="", pipeline=pipeline, sets_per_batch=4)
    config.training.update(num_steps=15, log_every=5, evaluate_every=10, num_devices=1, compilation_cache=False)
    config.evaluation.importance_samples = 2
    inputs = load_inputs(config)
    assert inputs.image_sets["test"].images.min() == 255
    model = change(inputs.model._replace(loss=reporting(inputs.model.loss)))
    inputs = inputs._replace(model=model, image_sets={**inputs.image_sets, "test": Forbidden()})
    with set_up(config, tmp_path, inputs=inputs) as run:
        best = fit(run, validation(run)).checkpoints.best_step()
        with pytest.raises(Touched):
            np.asarray(run.inputs.image_sets["test"].images)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    scores = {row["step"]: row[config.training.best_metric] for row in rows if row["split"] == "validation"}
    assert list(scores) == [10, 15]
    assert best == min(scores, key=lambda step: scores[step])
    brightest = [row[name] for row in rows for name in row if name.endswith("brightest")]  # means over 5 batches
    assert len(brightest) == 3 * max(1, len(model.phases))
    assert 0 < max(brightest) < DARK
