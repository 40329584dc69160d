"""Set VAEs of single digits of static MNIST, beside Matryoshka networks: VAE, Neural Statistician, SCHA-VAE.

    python -m exflow.main --config=configs/set_vae_mnist.py:vae            # or ns, scha
    python -m exflow.main --config=configs/set_vae_mnist.py:cpu_vae        # small, trains on two cores
    python -m experiments single_images --model=runs/set_vae_mnist-cpu_vae --model=runs/matnet_depth-cpu_j3

Every image is a set of one, so that a latent of the set is one more latent of the image. No such numbers were
published.
"""

from ml_collections import ConfigDict
from set_vae_omniglot import VARIANTS as OMNIGLOT
from set_vae_omniglot import get_config as omniglot

EPOCH = 50_000 // 100


def get_config() -> ConfigDict:
    config = omniglot()
    config.update_from_flattened_dict(SINGLE)
    return config


SINGLE = {
    "data.dataset": "binarized_mnist",
    "data.resize": "bilinear",
    "data.batches": "images",
    "data.set_size": 1,
    "data.sets_per_batch": 100,
    "data.augment_set.probability": 0.0,
    "model.set_vae.class_rule": "elbo",
    "model.set_vae.unused_parameters": False,
    "objective.alpha": 0.0,
    "evaluation.nll_set_size": 1,
    "evaluation.settings": (),
    "evaluation.marginal_samples": 2_500,
    "training.num_steps": 300 * EPOCH,
    "training.log_every": EPOCH,
    "training.evaluate_every": 10 * EPOCH,
}
CPU = {"training.num_steps": 60 * EPOCH, "data.sets_per_batch": 100}
ALONE = {"data.set_size": 1, "data.batches": "images", "model.set_vae.class_rule": "elbo"}
NAMES = ("vae", "ns", "scha")

VARIANTS = {
    **{name: OMNIGLOT[name] | SINGLE for name in NAMES},
    **{f"cpu_{name}": OMNIGLOT[f"cpu_{name}"] | SINGLE | CPU for name in NAMES},
    "smoke": OMNIGLOT["smoke_scha"]
    | {"data.set_size": 1, "data.batches": "images", "model.set_vae.class_rule": "elbo"},
}
