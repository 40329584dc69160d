"""Dense Matryoshka networks of 1 to 6 latent groups on static MNIST (Bachman's comparison of depths).

    python -m exflow.main --config=configs/matnet_depth.py:j3        # three groups; or j1 ... j6
    python -m exflow.main --config=configs/matnet_depth.py:cpu_j3    # the same network, 120 epochs
    python -m experiments.depth_sweep                                # all of these, and a table

A model of one group is an ordinary VAE. Every group has 64 latents and adds a module of 512 units to each chain:
2,054,544, 3,861,008, 5,667,472, 7,473,936, 9,280,400 and 11,086,864 parameters for 1 to 6 groups. No number was
published: the author trained the runs of the first code on test images (here nothing reads these before the
evaluation). A VAE of one layer with importance weights reaches 87.1 nats (Burda et al. 2016).

Published recipe: 200 images, each ten times with fresh noise (`:published_j3`), 1,500 epochs. `:j3` is the same
without the repetition; `experiments/results` says what it buys.
"""

from _matnet_recipes import SMOKE, TRAIN_IMAGES, schedule, single_images
from ml_collections import ConfigDict

BATCH = 200


def get_config() -> ConfigDict:
    config = single_images("binarized_mnist", BATCH)
    config.model.matnet.likelihood = "bernoulli"
    config.model.matnet.block = "projection"
    config.model.matnet.levels = "512-2"
    config.model.matnet.top_hidden = 512
    config.model.matnet.shortcut_encoder = ()
    config.model.matnet.entry_normalized = False
    config.model.matnet.merge_state = False
    config.model.matnet.activation = "relu"
    config.model.matnet.initialization = "normal"
    config.model.matnet.inference_noise = 0.0
    config.model.matnet.generator_noise = 0.0
    config.model.matnet.initial_scale = 1.0
    config.model.matnet.scale_owner = "none"
    config.update_from_flattened_dict(FULL)
    return config


FULL = schedule((50, 100, 200, 300), 500, 1_000, BATCH) | {"objective.annealing_steps": 25 * TRAIN_IMAGES // BATCH}
CPU = schedule((20, 40), 60, 60, BATCH) | {
    "objective.annealing_steps": 10 * TRAIN_IMAGES // BATCH,
    "model.compute_dtype": "bfloat16_products",
}

DEPTHS = {f"j{groups}": {"model.matnet.levels": f"512-{groups - 1}"} for groups in range(1, 7)}
VARIANTS = {
    **DEPTHS,
    **{f"published_{name}": depth | {"objective.repeats": 10} for name, depth in DEPTHS.items()},
    **{f"cpu_{name}": depth | CPU for name, depth in DEPTHS.items()},
    **{f"cpu_repeated_{name}": depth | CPU | {"objective.repeats": 10} for name, depth in DEPTHS.items()},
    "smoke": SMOKE | {"model.matnet.levels": "32-2"},
}
