"""The toy family of single images on glyphs, an epoch of which is a permutation."""

from ml_collections import ConfigDict

from exflow.config import base_config


def get_config() -> ConfigDict:
    config = base_config("toy_single", imports=("toy_single.py",))
    config.data.options = "num_train=20, num_validation=4, num_test=4"
    config.data.image_size = 8
    config.data.pipeline = "device"
    config.data.batches = "images"
    config.data.rotate = False
    config.data.sets_per_batch = 20
    config.data.set_size = 1
    config.optimizer.name = "adam"
    config.training.num_steps = 6
    config.training.log_every = 3
    config.training.evaluate_every = 3
    config.evaluation.num_sample_rows = 2
    config.evaluation.importance_samples = 40
    config.evaluation.settings = ()
    return config


VARIANTS = {}
