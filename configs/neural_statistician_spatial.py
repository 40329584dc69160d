"""Neural Statistician on digits as sets of points, spatial MNIST (Edwards & Storkey 2017, arXiv:1606.02185, 5.2).

    python -m exflow.main --config=configs/neural_statistician_spatial.py          # 100 epochs as published
    python -m exflow.main --config=configs/neural_statistician_spatial.py:cpu      # small, trains on two cores
    python -m experiments summaries --model=runs/neural_statistician_spatial       # the points that tell most

Every set is 50 points of one digit, drawn by the intensity of its pixels; ones are left out, which have few of them.
2,287,786 parameters. Bound on log p(X) per point, nats in coordinates of 28x28: uniform points have -6.66.
"""

from ml_collections import ConfigDict

from exflow.config import base_config

EPOCH_STEPS = 139  # 8,905 digits in batches of 64


def get_config() -> ConfigDict:
    config = base_config("set_vae")
    config.data.dataset = "spatial_mnist"
    config.data.pipeline = "device"
    config.data.sets_per_batch = 64
    config.data.set_size = 50
    config.data.rotate = False
    config.data.distinct = True
    config.model.set_vae.likelihood = "gaussian"
    config.model.set_vae.shared_variance = True
    config.model.set_vae.hidden = 256
    config.model.set_vae.latent_dim = 2
    config.model.set_vae.set_latent_dim = 64
    config.model.set_vae.num_levels = 3
    config.model.set_vae.num_blocks = 2
    config.model.set_vae.block_depth = 2
    config.model.set_vae.activation = "relu"
    config.model.set_vae.normalization = "batch"
    config.model.set_vae.head_normalization = "global_batch"
    config.model.set_vae.initialization = "xavier_normal"
    config.model.set_vae.unused_parameters = True
    config.objective.alpha = 1.0
    config.objective.alpha_decay = 0.5
    config.objective.epoch_steps = EPOCH_STEPS
    config.optimizer.name = "adam"
    config.optimizer.clip_value = 0.5
    config.training.num_steps = 100 * EPOCH_STEPS
    config.training.evaluate_every = 10 * EPOCH_STEPS
    config.evaluation.nll_set_size = 50
    config.evaluation.settings = ()
    return config


CPU = {
    "data.options": "num_test=1000",
    "data.sets_per_batch": 16,
    "model.set_vae.hidden": 128,
    "objective.epoch_steps": 4 * EPOCH_STEPS,
    "optimizer.learning_rate": 3e-3,
    "optimizer.schedule": "cosine",
    "optimizer.clip_value": 0.0,
    "optimizer.clip_norm": 5.0,
    "optimizer.ema_decay": 0.99,
    "training.num_steps": 3_000,
    "training.evaluate_every": 1_000,
}
SMOKE = CPU | {
    "data.options": "num_points=10, num_train=40, num_validation=20, num_test=20",
    "data.sets_per_batch": 4,
    "data.set_size": 10,
    "model.set_vae.hidden": 16,
    "model.set_vae.log_variance_bound": 10.0,  # running averages of few steps put variances beyond float32
    "model.set_vae.num_blocks": 1,
    "model.set_vae.block_depth": 1,
    "training.quick_compilation": True,
    "training.num_devices": 1,
    "training.num_steps": 8,
    "training.log_every": 4,
    "training.evaluate_every": 4,
    "training.checkpoint_every": 4,
    "evaluation.nll_set_size": 10,
}

VARIANTS = {"cpu": CPU, "smoke": SMOKE}
