"""Neural Statistician on sets of numbers (Edwards & Storkey 2017, arXiv:1606.02185, section 5.1).

    python -m exflow.main --config=configs/neural_statistician_synthetic.py        # 50 epochs as published
    python -m exflow.main --config=configs/neural_statistician_synthetic.py:hard   # mixtures and skewed families

Every set is 200 draws from one distribution: its family, mean and variance differ from set to set. 296,462 parameters.
Bound on log p(X) per number, nats: an oracle that knows each distribution reaches -1.455 (-1.380 hard), a Gaussian
fitted to each set -1.619 (-1.700), one density for all sets -1.778 (-1.822).
"""

from ml_collections import ConfigDict

from exflow.config import base_config


def get_config() -> ConfigDict:
    config = base_config("set_vae")
    config.data.dataset = "distributions_1d"
    config.data.pipeline = "device"
    config.data.sets_per_batch = 16
    config.data.set_size = 200
    config.data.rotate = False
    config.data.distinct = True
    config.model.set_vae.likelihood = "gaussian"
    config.model.set_vae.hidden = 128
    config.model.set_vae.latent_dim = 32
    config.model.set_vae.set_latent_dim = 3
    config.model.set_vae.num_levels = 1
    config.model.set_vae.num_blocks = 2
    config.model.set_vae.block_depth = 2
    config.model.set_vae.activation = "relu"
    config.model.set_vae.normalization = "none"
    config.model.set_vae.head_normalization = "global_batch"
    config.model.set_vae.initialization = "xavier_normal"
    config.model.set_vae.unused_parameters = True
    config.objective.alpha = 1.0
    config.objective.alpha_decay = 0.5
    config.objective.epoch_steps = 625
    config.optimizer.name = "adam"
    config.optimizer.clip_value = 0.5
    config.training.num_steps = 31_250
    config.training.evaluate_every = 3_125
    config.evaluation.nll_set_size = 200
    config.evaluation.settings = ()
    return config


HARD = {"data.options": "kind=hard"}
CPU = {
    "data.set_size": 50,
    "model.set_vae.hidden": 64,
    "model.set_vae.head_normalization": "none",
    "objective.epoch_steps": 100,
    "optimizer.learning_rate": 3e-3,
    "optimizer.schedule": "cosine",
    "optimizer.clip_value": 0.0,
    "optimizer.clip_norm": 5.0,
    "optimizer.ema_decay": 0.99,
    "training.num_steps": 3_000,
    "training.evaluate_every": 1_000,
}
SMOKE = CPU | {
    "data.options": "num_train=40, num_validation=8, num_test=8, set_size=20",
    "data.sets_per_batch": 4,
    "data.set_size": 10,
    "model.set_vae.num_blocks": 1,
    "model.set_vae.block_depth": 1,
    "training.quick_compilation": True,
    "training.num_devices": 1,
    "training.num_steps": 8,
    "training.log_every": 4,
    "training.evaluate_every": 4,
    "training.checkpoint_every": 4,
    "evaluation.nll_set_size": 20,
}

VARIANTS = {"hard": HARD, "cpu": CPU, "cpu_hard": CPU | HARD, "smoke": SMOKE}
