"""BRUNO on MNIST, from even to odd digits (Korshunova et al. 2018, arXiv:1802.07535, models dn2 of its code).

    python -m exflow.main --config=configs/bruno_mnist_even_odd.py        # published model, needs an accelerator
    python -m exflow.main --config=configs/bruno_mnist_even_odd.py:cpu    # small model on 14x14 pixels

Trains on the digits 0, 2, 4, 6, 8 and is tested on 1, 3, 5, 7, 9. Published, nats per test image: 567.3 with the
Gaussian process (`:student_t`: 567.7); 5,510,702 parameters (5,511,486). The same with dense couplings alone is
configs/bruno_mnist_dense.py:even_odd.
"""

from _bruno_recipes import FAST_ON_ACCELERATOR, SMALL_CONV_BRUNO, SMOKE
from ml_collections import ConfigDict

from exflow.config import base_config


def get_config() -> ConfigDict:
    config = base_config("bruno")
    config.data.dataset = "mnist_even_odd"
    config.data.rotate = False
    config.model.bruno.filters = 32
    config.model.bruno.dense_units = 256
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_rate = 0.999995
    config.optimizer.groups.process.freeze_steps = 99
    config.training.num_steps = 49_999  # the original's first iteration only initialises
    config.evaluation.splits = ("test", "train")
    config.evaluation.settings = ((5, 1), (5, 5))
    return config


STUDENT_T = {"model.bruno.process": "student_t"}
FAST = FAST_ON_ACCELERATOR | {"training.num_steps": 12_000}

VARIANTS = {
    "student_t": STUDENT_T,
    "fast": FAST,
    "fast_student_t": FAST | STUDENT_T,
    "cpu": SMALL_CONV_BRUNO,
    "cpu_student_t": SMALL_CONV_BRUNO | STUDENT_T,
    "smoke": SMALL_CONV_BRUNO | SMOKE,
}
