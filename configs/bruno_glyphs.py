"""BRUNO on glyphs, the alphabet that comes with exflow: the demo, which downloads nothing.

    python -m exflow.main --config=configs/bruno_glyphs.py

Train, evaluate and sample in a few minutes on two CPU cores.
"""

from ml_collections import ConfigDict

from exflow.config import base_config


def get_config() -> ConfigDict:
    config = base_config()
    config.data.dataset = "glyphs"
    config.data.downscale = 2
    config.data.pipeline = "device"
    config.data.sets_per_batch = 20
    config.data.set_size = 8
    config.data.distinct = True
    config.model.scales = 0
    config.model.dense_units = 256
    config.model.process_init = "empirical"
    config.objective.discriminative_weight = 1.0
    config.objective.shots = (1, 5)
    config.optimizer.name = "adam"
    config.optimizer.ema_decay = 0.99
    config.training.num_steps = 2_000
    config.training.evaluate_every = 500
    config.training.checkpoint_every = 500
    config.evaluation.nll_set_size = 8
    return config


VARIANTS = {
    "smoke": {
        "model.dense_units": 32,
        "model.dense_couplings": 2,
        "model.process_init_batches": 1,
        "training.num_steps": 8,
        "training.log_every": 4,
        "training.evaluate_every": 4,
        "training.checkpoint_every": 4,
        "evaluation.num_trials": 1,
    },
}
