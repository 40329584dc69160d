"""Neural Statistician on Omniglot (Edwards & Storkey 2017, arXiv:1606.02185, section 5.3).

    python -m exflow.main --config=configs/neural_statistician_omniglot.py         # published model, an accelerator
    python -m exflow.main --config=configs/neural_statistician_omniglot.py:cpu     # small, trains on two cores

Sets of 5 drawings of a character, binarised anew at every step; half of the training sets are flipped and turned. The
class of a query is the nearest by KL between posteriors of the sets' latent. 8,370,247 parameters. An epoch is counted
as 8,000 sets. Published: 98.1 / 99.5 / 93.2 / 98.1 % at 5-way 1-shot / 5-way 5-shot / 20-way 1-shot / 20-way 5-shot,
after 300 epochs on 1,200 characters. This config keeps 200 of them for validation;
`--config.data.split=standard_trainval --config.training.best_metric=` trains on all and evaluates the last checkpoint.
"""

from ml_collections import ConfigDict

from exflow.config import base_config

EPOCH_STEPS = 250  # 4,000 sets of five of 1,000 characters and as many flipped and turned, in batches of 32


def get_config() -> ConfigDict:
    config = base_config("set_vae")
    config.data.dataset = "omniglot_ns"
    config.data.resize = "area"
    config.data.pipeline = "device"
    config.data.sets_per_batch = 32
    config.data.set_size = 5
    config.data.rotate = False
    config.data.augment_set.probability = 0.5
    config.data.augment_set.rotation_degrees = 180.0
    config.data.augment_set.flip_horizontal = 0.5
    config.data.augment_set.flip_vertical = 0.5
    config.model.set_vae.hidden = 256
    config.model.set_vae.latent_dim = 16
    config.model.set_vae.set_latent_dim = 512
    config.model.set_vae.num_levels = 1
    config.model.set_vae.raw_elements = True
    config.model.set_vae.initialization = "xavier_normal"
    config.model.set_vae.unused_parameters = True
    config.objective.alpha = 1.0
    config.objective.alpha_decay = 0.5
    config.objective.epoch_steps = EPOCH_STEPS
    config.optimizer.name = "adam"
    config.optimizer.clip_value = 0.5
    config.training.num_steps = 300 * EPOCH_STEPS
    config.evaluation.nll_set_size = 5
    return config


CPU = {
    "model.set_vae.hidden": 128,
    "model.set_vae.set_latent_dim": 64,
    "model.set_vae.encoder_filters": 16,
    "optimizer.schedule": "cosine",
    "optimizer.ema_decay": 0.995,
    "training.num_steps": 3_000,
    "training.evaluate_every": 1_000,
}
SMOKE = CPU | {  # the whole pipeline in less than a minute of two cores
    "data.dataset": "glyphs",  # fewer pictures, and no download
    "data.options": "num_train=20, num_validation=4, num_test=4",
    "data.sets_per_batch": 4,
    "model.set_vae.hidden": 16,
    "model.set_vae.encoder_filters": 4,
    "training.quick_compilation": True,
    "training.num_devices": 1,
    "training.num_steps": 8,
    "training.log_every": 4,
    "training.evaluate_every": 8,
    "training.checkpoint_every": 4,
    "evaluation.settings": (),
    "evaluation.num_sample_rows": 2,
}

VARIANTS = {"cpu": CPU, "smoke": SMOKE}
