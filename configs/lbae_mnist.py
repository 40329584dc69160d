"""Latent Bernoulli autoencoders of MNIST, padded to 32x32 (Fajtl et al. 2020).

    python -m exflow.main --config=configs/lbae_mnist.py             # for an accelerator
    python -m exflow.main --config=configs/lbae_mnist.py:cpu         # a quarter of the width, an hour on two cores
    python -m exflow.main --config=configs/lbae_mnist.py:cpu --mode=sample --config.sampling.method=threshold

200 bits, 2,483,160 parameters, 5,000 epochs. The published decoder squeezes the bits through 16 numbers; `:wide` does
not. On the same networks, `:vae` is the published variational baseline (20 latents, half of the divergence) and `:rae`
a regularised autoencoder whose latents a mixture of Gaussians is fitted to. `:fashion` and the like are of
Fashion-MNIST.

Differences from the code: 5,000 of the training images are held out for validation, which chooses the checkpoint (the
code chooses on test images), and moments are taken of one clean pass with that checkpoint over the training images.
"""

from ml_collections import ConfigDict

from exflow.config import base_config

BATCH = 512
EPOCH = 55_000 // BATCH


def get_config() -> ConfigDict:
    config = base_config("lbae")
    config.data.dataset = "mnist"
    config.data.image_size = 32
    config.data.resize = "pad"
    config.data.pipeline = "device"
    config.data.batches = "images"
    config.data.set_size = 1
    config.data.sets_per_batch = BATCH
    config.data.rotate = False
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-4
    config.training.num_steps = 5_000 * EPOCH
    config.training.log_every = EPOCH
    config.training.evaluate_every = 10 * EPOCH
    config.training.checkpoint_every = 10 * EPOCH
    config.training.best_metric = "reconstruction"
    config.evaluation.settings = ()
    config.evaluation.sample_quality.crop = 28
    config.sampling.densities = ("independent", "mixture", "autoregressive")
    return config


WIDE = {"model.lbae.decoder_input_channels": 128}
VAE = {
    "model.lbae.latent": "gaussian",
    "model.lbae.latent_dim": 20,
    "sampling.densities": (),
    "objective.kl_weight": 10.0,
    "optimizer.groups.encoder.l2": 1e-4,
    "optimizer.groups.decoder.l2": 1e-4,
}
RAE = WIDE | {
    "model.lbae.latent": "continuous",
    "model.lbae.latent_dim": 16,
    "sampling.densities": (),
    "objective.code_weight": 1e-2,
    "optimizer.groups.decoder.l2": 1e-4,
}
FASHION = {"data.dataset": "fashion_mnist"}
SMALL = {"model.lbae.encoder_channels": (16, 32, 64), "model.lbae.decoder_channels": (32, 16, 16)}
SHORT = {
    "data.sets_per_batch": 128,
    "optimizer.learning_rate": 1e-3,
    "optimizer.schedule": "cosine",
    "training.num_steps": 30 * 429,
    "training.log_every": 429,
    "training.evaluate_every": 3 * 429,
    "training.checkpoint_every": 429,
}
CPU = SMALL | SHORT
SMOKE = SMALL | {
    "data.sets_per_batch": 16,
    "model.lbae.encoder_channels": (8, 8, 16),
    "model.lbae.decoder_channels": (16, 8, 8),
    "model.lbae.latent_dim": 32,
    "training.num_steps": 12,
    "training.log_every": 6,
    "training.evaluate_every": 12,
    "training.checkpoint_every": 12,
    "training.quick_compilation": True,
    "evaluation.num_sample_rows": 2,
}

KINDS = {"": {}, "wide": WIDE, "vae": VAE, "rae": RAE}
DATA = {"": {}, "fashion": FASHION}
LENGTHS = {"": {}, "cpu": CPU}
VARIANTS = {
    "_".join(filter(None, (length, data, kind))): KINDS[kind] | DATA[data] | LENGTHS[length]
    for length in LENGTHS
    for data in DATA
    for kind in KINDS
    if length or data or kind
} | {
    "smoke": SMOKE,
    "smoke_vae": VAE | SMOKE | {"model.lbae.latent_dim": 8},
    "smoke_rae": RAE | SMOKE | {"model.lbae.latent_dim": 8},
}
