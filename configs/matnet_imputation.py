"""Conditional Matryoshka networks, which infer the hidden pixels of an image (Bachman 2016, arXiv:1612.04739).

    python -m exflow.main --config=configs/matnet_imputation.py          # for an accelerator
    python -m exflow.main --config=configs/matnet_imputation.py:cpu      # a quarter of the width, 20 epochs
    python -m exflow.main --config=configs/matnet_imputation.py:cpu --mode=impute    # pictures again

One of the four quadrants of static MNIST is hidden, or three patches of 12x12 (`:patches`, which the paper's recurrent
model of patches sees, too). The prior of every latent group comes from a network that sees the other pixels, with the
hidden ones at the mean of the training images, and the mask; the inference network sees the whole image besides.

The published code leaves the one scale of all means and log-variances out of what is learned, so that it stays 0.2;
here it learns. No number of nats was published for this model and data.
"""

from _matnet_recipes import CONV, SMOKE, schedule, single_images
from ml_collections import ConfigDict

BATCH = 100


def get_config() -> ConfigDict:
    config = single_images("binarized_mnist", BATCH)
    config.update_from_flattened_dict(CONV | IMPUTATION | schedule((5, 15, 30, 60, 100), 150, 250, BATCH))
    return config


IMPUTATION = {
    "model.matnet.conditional": "quadrants",
    "model.matnet.levels": "7-64-3,14-64-3,28-32-0",
    "optimizer.b1": 0.9,
    "optimizer.b2": 0.99,
    "training.best_metric": "imputation_nelbo",
}
SMALL = {"model.matnet.levels": "7-16-3,14-16-3,28-8-0", "model.matnet.top_hidden": 64}
SHORT = schedule((5,), 10, 10, BATCH) | {"evaluation.marginal_sets": 1_000, "evaluation.marginal_samples": 100}
PATCHES = {"model.matnet.conditional": "patches", "model.matnet.num_patches": 3, "model.matnet.patch_size": 12}

VARIANTS = {
    "patches": PATCHES,
    "cpu": SHORT | SMALL,
    "cpu_patches": SHORT | SMALL | PATCHES,
    "smoke": SMOKE | {"model.matnet.levels": "14-8-1,28-8-0", "model.matnet.top_hidden": 16},
}
