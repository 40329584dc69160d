"""What a configuration trains with."""

import jax
import numpy as np
import pytest

from exflow.config.load import load_config
from exflow.data.pipelines.spec import PIPELINES
from exflow.training.inputs import build_pipeline, load_data


@pytest.mark.parametrize("name", PIPELINES)
def test_batches_of_single_images(name) -> None:
    """One batch of all training images: each once, as a set of one, with its class."""
    options = "num_train=3, num_validation=1, num_test=1, images_per_class=4"
    changes = {"batches": "images", "set_size": "1", "rotate": "False", "distinct": "False", "sets_per_batch": "12"}
    changes |= {"options": options, "pipeline": name, "dataset": "glyphs"}
    overrides = [(f"data.{key}", value) for key, value in changes.items()]
    config = load_config("bruno_glyphs:smoke", [*overrides, ("objective.discriminative_weight", "0")])
    train = load_data(config)["train"]
    pipeline = build_pipeline(config, train)
    batch = jax.jit(pipeline.materialize)(pipeline.resident, next(iter(pipeline.batches(0))))
    images = np.asarray(batch.x_set)
    assert images.shape == (12, 1, *train.images.shape[1:])
    assert sorted(x.tobytes() for x in images) == sorted(x.tobytes() for x in train.images)
    assert np.bincount(batch.label).tolist() == [4, 4, 4]
