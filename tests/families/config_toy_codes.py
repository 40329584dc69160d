"""The toy family of codes on glyphs."""

from ml_collections import ConfigDict

from exflow.config import base_config


def get_config() -> ConfigDict:
    config = base_config("toy_codes", imports=("toy_codes.py",))
    config.data.options = "num_train=20, num_validation=4, num_test=4"
    config.data.image_size = 8
    config.data.pipeline = "device"
    config.data.sets_per_batch = 4
    config.data.set_size = 5
    config.optimizer.name = "adam"
    config.optimizer.groups.encoder.freeze_steps = 2
    config.training.num_steps = 6
    config.training.log_every = 3
    config.training.evaluate_every = 3
    config.training.best_metric = "reconstruction_mse"
    config.evaluation.num_sample_rows = 2
    return config


VARIANTS = {}
