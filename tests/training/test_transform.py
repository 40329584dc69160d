"""What `build_transform` does to batches inside the compiled step."""

import jax
import jax.numpy as jnp
import numpy as np

from exflow.config import base_config
from exflow.training.inputs import build_transform
from exflow.typing import Batch


def test_outliers_are_the_last_images_of_every_nth_step():
    config = base_config("bruno")
    config.data.outlier_every, config.data.set_size = 3, 4
    x_set = np.random.default_rng(0).integers(0, 200, (2, 4, 2, 2, 1)).astype(np.uint8)
    mask = np.array([[True] * 4, [True, True, False, False]])
    batch = Batch(jnp.asarray(x_set), jnp.asarray(mask), jnp.zeros(2, jnp.int32))
    transform = jax.jit(build_transform(config))
    for step in range(7):
        expected = x_set.copy()
        if step in (2, 5):  # the third and the sixth
            expected[0, 3] = expected[1, 1] = 255
        np.testing.assert_array_equal(transform(jax.random.key(1), batch, step).x_set, expected)


def test_keys_of_the_augmentation_reach_it():
    config = base_config("bruno")
    config.data.augment_set.update({"probability": 1.0, "flip_horizontal": 1.0})
    x_set = jnp.asarray(np.random.default_rng(0).integers(0, 200, (2, 3, 4, 4, 1)).astype(np.uint8))
    batch = Batch(x_set, jnp.ones((2, 3), bool), jnp.zeros(2, jnp.int32))
    mirrored = jax.jit(build_transform(config))(jax.random.key(0), batch, 0).x_set
    np.testing.assert_array_equal(mirrored, x_set[..., ::-1, :])


def test_without_outliers_nothing_changes():
    config = base_config("bruno")
    batch = Batch(jnp.ones((2, 3, 2, 2, 1), jnp.uint8), jnp.ones((2, 3), bool), jnp.zeros(2, jnp.int32))
    assert build_transform(config)(jax.random.key(0), batch, 0).x_set is batch.x_set
