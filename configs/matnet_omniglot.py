"""Convolutional Matryoshka networks of Omniglot at 28x28 (Bachman 2016, arXiv:1612.04739, final code).

    python -m exflow.main --config=configs/matnet_omniglot.py            # for an accelerator
    python -m exflow.main --config=configs/matnet_omniglot.py:burda      # with the file of Burda et al., see below
    python -m exflow.main --config=configs/matnet_omniglot.py:cpu        # a quarter of the width

Five groups at 7x7 and five at 14x14: 4,932 latents, 12,605,330 parameters. `:hires` adds groups at 28x28, `:refiner`
ends in five recurrent steps there, each of which adds to the logits: 27,962 latents. (The code sums them in training
and averages them when it draws samples; here they are summed in both.)

Published: 89 to 90 nats (not confirmed against the paper) on the pictures of Burda et al. 2016, whose file the user
must have (`--config.data.options=path=...`). Without it the data are Omniglot's own drawings, reduced to 28x28 with
grey edges: the numbers are of another data set.
"""

from _matnet_recipes import CONV, SMOKE, schedule, single_images
from ml_collections import ConfigDict

BATCH = 100
IMAGES = 23_000  # in training, of either version, roughly
EPOCH = IMAGES // BATCH


def get_config() -> ConfigDict:
    config = single_images("omniglot", BATCH)
    config.data.resize = "area"
    config.update_from_flattened_dict(CONV | FULL)
    return config


FULL = schedule((10, 25, 50, 150), 300, 200, BATCH, IMAGES) | {
    "model.matnet.levels": "7-128-5,14-64-5,28-32-0",
    "model.matnet.top_hidden": 256,
    "objective.sleep_start_step": 5 * EPOCH,
}
HIRES = {"model.matnet.levels": "7-128-2,14-64-2,28-32-2", "model.matnet.exit_layers": 1}
REFINER = {
    "model.matnet.levels": "7-128-3,14-64-3,28-32-5-gru",
    "model.matnet.latent_dim": 6,
    "model.matnet.summed_outputs": True,
    "optimizer.groups.generator.clip_norm": 100.0,
    "optimizer.groups.inference.clip_norm": 100.0,
}
SHORT = schedule((10, 20), 30, 30, BATCH, IMAGES) | {
    "model.matnet.levels": "7-32-3,14-16-3,28-8-0",
    "model.matnet.top_hidden": 64,
    "objective.sleep_start_step": 0,
}

VARIANTS = {
    "burda": {"data.dataset": "omniglot_burda"},
    "hires": HIRES,
    "refiner": REFINER,
    "cpu": SHORT,
    "smoke": SMOKE | {"model.matnet.levels": "7-8-1,14-8-1,28-8-0", "objective.sleep_start_step": 6},
    "smoke_refiner": REFINER
    | SMOKE
    | {"model.matnet.levels": "7-8-1,14-8-1,28-8-2-gru", "objective.sleep_start_step": 0},
}
