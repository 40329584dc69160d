"""Small instances of every model family: a new family gets the shared tests of `test_set_models.py` by one line."""

import pytest

from exflow.config import base_config

IMAGE_SHAPE = (8, 8, 1)


def small_config(**overrides):
    """Return the base configuration with a tiny network and dotted overrides."""
    config = base_config()
    with config.unlocked():
        config.update_from_flattened_dict(
            {
                "data.sets_per_batch": 4,
                "data.set_size": 5,
                "model.filters": 4,
                "model.residual_blocks": 0,
                "model.dense_units": 8,
                "model.dense_couplings": 2,
                **{key.replace("__", "."): value for key, value in overrides.items()},
            }
        )
    return config


MODELS = {
    "bruno_gaussian": small_config(model__scales=0),
    "bruno_student_t": small_config(model__scales=0, model__process="student_t", model__degrees_of_freedom=7.0),
    "bruno_mixture": small_config(model__scales=0, model__process="mixture", model__degrees_of_freedom=7.0),
    "bruno_low_rank": small_config(model__scales=0, model__process="low_rank", model__process_rank=2),
    "bruno_spline": small_config(model__scales=0, model__coupling="spline", model__spline_bins=3),
    "bruno_conditional": small_config(model__scales=0, model__conditioning="original"),
}
BEYOND_THE_PAPER = ("bruno_mixture", "bruno_low_rank", "bruno_spline")  # tested with the slow ones
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in BEYOND_THE_PAPER else name for name in MODELS]
