"""Convolutional Matryoshka networks of CIFAR-10 (Bachman's final code).

    python -m exflow.main --config=configs/matnet_cifar10.py               # Gaussian of whitened pixels, as published
    python -m exflow.main --config=configs/matnet_cifar10.py:logistic      # discretised logistic mixture
    python -m exflow.main --config=configs/matnet_cifar10.py:autoregressive    # a small masked network before that
    python -m exflow.main --config=configs/matnet_cifar10.py:cpu           # a sixth of the width

Groups of 6 channels at 8x8 (two), 16x16 (four) and 32x32 (four) below a top of 32: 31,520 latents; the means of the
priors are functions of the state above. The whitening is fitted to the training images once; one log-variance for all
pixels is learned with the other parameters (the code fits it to test images while it evaluates).

Published: 3.24 bits/dim with an autoregressive part that is not in the public code. `:autoregressive` is our own.
"""

from _matnet_recipes import CONV, SMOKE, schedule, single_images
from ml_collections import ConfigDict

BATCH = 100
IMAGES = 45_000
EPOCH = IMAGES // BATCH


def get_config() -> ConfigDict:
    config = single_images("cifar10", BATCH)
    config.data.image_size = 32
    config.update_from_flattened_dict(CONV | FULL)
    return config


FULL = schedule((15, 50, 100), 250, 250, BATCH, IMAGES) | {
    "model.matnet.likelihood": "whitened_gaussian",
    "model.matnet.levels": "8-192-2,16-144-4,32-96-4",
    "model.matnet.latent_dim": 6,
    "model.matnet.prior": "mean",
    "model.matnet.gain_of_outputs": True,
    "objective.annealing_start": 0.02,
    "objective.annealing_steps": 50 * EPOCH,
    "objective.sleep_start_step": 0,
    "optimizer.learning_rate": 5e-4,
    "optimizer.b2": 0.99,
    "evaluation.marginal_samples": 100,
}
LOGISTIC = {"model.matnet.likelihood": "logistic_mixture", "model.matnet.prior": "full"}
AUTOREGRESSIVE = LOGISTIC | {"model.matnet.head_filters": 48}
SHORT = schedule((10, 20), 30, 30, BATCH, 18_000) | {
    "model.matnet.levels": "8-32-2,16-24-2,32-16-2",
    "objective.annealing_steps": 5 * 180,
}
SMALL = {"data.image_size": 16, "model.matnet.levels": "8-8-1,16-8-1"}  # 32x32 whiten for half a minute

VARIANTS = {
    "logistic": LOGISTIC,
    "autoregressive": AUTOREGRESSIVE,
    "cpu": SHORT,
    "cpu_logistic": SHORT | LOGISTIC,
    "cpu_autoregressive": SHORT | AUTOREGRESSIVE | {"model.matnet.head_filters": 16},
    "smoke": SMOKE | SMALL,
    "smoke_autoregressive": AUTOREGRESSIVE
    | SMOKE
    | SMALL
    | {"model.matnet.head_filters": 8, "evaluation.num_sample_rows": 1},
}
