"""Latent Bernoulli autoencoders of CelebA at 64x64 (Fajtl et al. 2020), for those who have it.

    python -m exflow.main --config=configs/lbae_celeba.py            # for an accelerator
    python -m exflow.main --config=configs/lbae_celeba.py --mode=edit --config.sampling.attribute=Eyeglasses
    python -m exflow.main --config=configs/lbae_celeba.py:smoke      # drawings in place of faces

1,500 bits, 18,938,204 parameters, 3,900 epochs. Pictures are the centre of 64x64 after the shorter side has been
brought to 64, which keeps the background, in the official splits. `:vae` is the published variational baseline (64
latents).
`:smoke` shows that everything runs and is not of faces: it takes grey solids, since CelebA may not be passed on.
"""

from lbae_mnist import SMOKE
from lbae_mnist import get_config as mnist
from ml_collections import ConfigDict

EPOCH = 162_770 // 512
VAE = {
    "model.lbae.latent": "gaussian",
    "model.lbae.latent_dim": 64,
    "objective.kl_weight": 64.0,
    "sampling.densities": (),
}


def get_config() -> ConfigDict:
    config = mnist()
    config.update_from_flattened_dict(
        {
            "data.dataset": "celeba_faces",
            "data.image_size": 64,
            "data.resize": "bilinear",
            "data.pipeline": "tfdata",
            "evaluation.sample_quality.crop": 0,
            "model.lbae.latent_dim": 1_500,
            "model.lbae.encoder_channels": (64, 128, 256, 256),
            "model.lbae.decoder_channels": (256, 128, 64, 64),
            "model.lbae.decoder_input_channels": 256,
            "objective.distortion": "squared_error",
            "optimizer.learning_rate": 1e-3,
            "sampling.densities": ("independent", "mixture"),
            "training.num_steps": 3_900 * EPOCH,
            "training.log_every": EPOCH,
            "training.evaluate_every": 10 * EPOCH,
            "training.checkpoint_every": EPOCH,
        }
    )
    return config


VARIANTS = {
    "vae": VAE,
    "smoke": SMOKE
    | {
        "data.dataset": "solids",
        "data.options": "num_train=20, num_validation=4, num_test=4",
        "model.lbae.encoder_channels": (8, 8, 8, 16),
        "model.lbae.decoder_channels": (16, 8, 8, 8),
    },
}
