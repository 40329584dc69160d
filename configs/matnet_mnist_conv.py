"""Convolutional Matryoshka networks of static MNIST (Bachman 2016, arXiv:1612.04739, final code).

    python -m exflow.main --config=configs/matnet_mnist_conv.py          # for an accelerator
    python -m exflow.main --config=configs/matnet_mnist_conv.py:cpu      # a quarter of the width, three groups a level

Five groups of 4-channel maps at 7x7 and five at 14x14 below a top of 32: 4,932 latents, 4,398,482 parameters
(4,767,122 with `:difference`, whose merging modules see the difference of state and features, too). `:meta` is linear
within a level but for one module of each chain, as the last training script has it; which of the two patterns the
published number is of was not recorded. `:hires` has groups at 28x28, `:gru` recurrent modules that the groups of a
level share, `:dynamic` pixels binarised anew, `:workshop` is the batch-normalised model of the first published code
(18,250,242 parameters, `:workshop_32` 6,920,034).

Published: about 78.5 nats (not confirmed against the paper), inference fine-tuned on the test images.
"""

from _matnet_recipes import CONV, SMOKE, TRAIN_IMAGES, WORKSHOP, schedule, single_images
from ml_collections import ConfigDict

BATCH = 100
EPOCH = TRAIN_IMAGES // BATCH


def get_config() -> ConfigDict:
    config = single_images("binarized_mnist", BATCH)
    config.update_from_flattened_dict(CONV | FULL)
    return config


FULL = schedule((5, 15, 30, 60, 100), 150, 150, BATCH) | {"objective.sleep_start_step": 5 * EPOCH}
DYNAMIC = {"data.dataset": "mnist", "data.options": "num_validation=10000"}
DIFFERENCE = {"model.matnet.merge_difference": True}
META = {"model.matnet.activation_pattern": "meta"}
HIRES = {"model.matnet.levels": "7-64-2,14-64-2,28-32-2", "model.matnet.exit_layers": 1}
GRU = schedule((5, 15, 30, 60, 100), 200, 150, BATCH) | {
    "model.matnet.levels": "7-80-5,14-80-5,28-40-0",
    "model.matnet.block": "gru",
    "model.matnet.activation": "tanh",
    "model.matnet.bottom_up_activation": "relu",
}
WORKSHOP_CONV = (
    WORKSHOP
    | schedule((25, 50, 100, 200), 500, 1_000, 200)
    | {
        "model.matnet.levels": "7-256-1,14-128-1,28-64-0",
        "model.matnet.latent_dim": 16,
        "model.matnet.top_latent_dim": 64,
        "model.matnet.top_hidden": 256,
        "model.matnet.generator_noise": 0.0,
        "objective.sleep_start_step": 0,
    }
)
SMALL = {"model.matnet.levels": "7-16-3,14-16-3,28-8-0", "model.matnet.top_hidden": 64}
SHORT = schedule((10, 20), 30, 30, BATCH) | {"objective.sleep_start_step": 0}

VARIANTS = {
    "dynamic": DYNAMIC,
    "difference": DIFFERENCE,
    "meta": META,
    "hires": HIRES,
    "gru": GRU,
    "workshop": WORKSHOP_CONV,
    "workshop_32": WORKSHOP_CONV | {"model.matnet.levels": "7-128-1,14-64-1,28-32-0"},
    "cpu": SHORT | SMALL,
    "smoke": SMOKE | {"model.matnet.levels": "7-8-1,14-8-1,28-8-0", "objective.sleep_start_step": 6},
    "smoke_gru": GRU | SMOKE | {"model.matnet.levels": "7-8-2,14-8-2,28-8-0", "objective.sleep_start_step": 0},
    "smoke_workshop": WORKSHOP_CONV | SMOKE | {"model.matnet.levels": "7-8-1,14-8-1,28-8-0"},
}
