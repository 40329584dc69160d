"""Latent Bernoulli autoencoders of CIFAR-10 (Fajtl et al. 2020).

    python -m exflow.main --config=configs/lbae_cifar10.py           # for an accelerator
    python -m exflow.main --config=configs/lbae_cifar10.py:cpu       # a quarter of the width

600 bits, 5,611,992 parameters, 3,000 epochs. `:vae` is the published variational baseline on the same networks (128
latents).
"""

from lbae_mnist import CPU, SMOKE
from lbae_mnist import get_config as mnist
from ml_collections import ConfigDict

EPOCH = 45_000 // 512
VAE = {
    "model.lbae.latent": "gaussian",
    "model.lbae.latent_dim": 128,
    "objective.kl_weight": 128.0,
    "sampling.densities": (),
}


def get_config() -> ConfigDict:
    config = mnist()
    config.update_from_flattened_dict(
        {
            "data.dataset": "cifar10",
            "data.resize": "bilinear",
            "evaluation.sample_quality.crop": 0,
            "model.lbae.latent_dim": 600,
            "model.lbae.decoder_input_channels": 128,
            "objective.distortion": "squared_error",
            "optimizer.learning_rate": 1e-3,
            "training.num_steps": 3_000 * EPOCH,
            "training.log_every": EPOCH,
            "training.evaluate_every": 10 * EPOCH,
            "training.checkpoint_every": 10 * EPOCH,
        }
    )
    return config


VARIANTS = {
    "vae": VAE,
    "cpu": CPU,
    "cpu_vae": VAE | CPU,
    "smoke": SMOKE,
}
