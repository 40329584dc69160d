"""Matryoshka networks whose top latent is of a mixture of Gaussians: unsupervised classes (Bachman's final code).

    python -m exflow.main --config=configs/matnet_mixture.py             # ten components on MNIST, convolutional
    python -m exflow.main --config=configs/matnet_mixture.py:omniglot    # fifty on Omniglot
    python -m exflow.main --config=configs/matnet_mixture.py:cpu         # ten components, dense

The evaluation tells the weights of the components, the entropy of p(component | top latent), and how many images are of
the class that most images of their component have. On Omniglot the top latent enters the generator beside
every group, the divergence is the bound -ln mean_k exp(-KL(q || p_k)), and 0.4 times the entropy is added to the loss.
No numbers were published. (The code of MNIST does not run as it stands, and its sleep phase draws the top latent from
N(0, I); here it is drawn from the mixture.)
"""

from _matnet_recipes import CONV, SMOKE, TRAIN_IMAGES, schedule, single_images
from ml_collections import ConfigDict

BATCH = 100


def get_config() -> ConfigDict:
    config = single_images("mnist", BATCH)
    config.data.options = "num_validation=10000"
    config.update_from_flattened_dict(CONV | FULL)
    config.model.matnet.num_components = 10
    return config


FULL = schedule((5, 15, 30, 60, 100), 150, 150, BATCH) | {"objective.sleep_start_step": 5 * TRAIN_IMAGES // BATCH}
OMNIGLOT = schedule((5, 15, 30, 60, 100), 200, 200, BATCH, 23_000) | {
    "data.dataset": "omniglot",
    "data.options": "",
    "data.resize": "area",
    "model.matnet.levels": "7-128-5,14-64-5,28-32-0",
    "model.matnet.top_hidden": 256,
    "model.matnet.num_components": 50,
    "model.matnet.top_everywhere": True,
    "objective.mixture_divergence": "surrogate",
    "objective.entropy_weight": 0.4,
    "objective.sleep_start_step": 0,
}
DENSE = schedule((20, 40), 60, 60, BATCH) | {
    "model.compute_dtype": "bfloat16_products",
    "model.matnet.levels": "256-3",
    "model.matnet.latent_dim": 32,
    "model.matnet.top_hidden": 256,
    "model.matnet.top_shortcuts": True,
    "model.matnet.entry_layers": 1,
    "model.matnet.exit_layers": 1,
    "model.matnet.normalization": "batch",
    "model.matnet.inference_noise": 0.1,
    "model.matnet.generator_noise": 0.1,
    "model.matnet.top_everywhere": True,
    "objective.sleep_start_step": 0,
}

VARIANTS = {
    "omniglot": OMNIGLOT,
    "cpu": DENSE,
    "cpu_entropy": DENSE | {"objective.mixture_divergence": "surrogate", "objective.entropy_weight": 0.4},
    "smoke": SMOKE | {"model.matnet.levels": "14-8-1,28-8-0", "objective.sleep_start_step": 6},
    "smoke_omniglot": OMNIGLOT | SMOKE | {"model.matnet.levels": "7-8-1,14-8-1,28-8-0"},
}
