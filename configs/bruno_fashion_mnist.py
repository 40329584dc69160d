"""BRUNO on Fashion-MNIST (Korshunova et al. 2018, arXiv:1802.07535, models cn2 of its code).

    python -m exflow.main --config=configs/bruno_fashion_mnist.py         # published model, needs an accelerator
    python -m exflow.main --config=configs/bruno_fashion_mnist.py:cpu     # small model on 14x14 pixels

Published, nats per test image: 1635.4 with the Gaussian process (`:student_t`: 1661.2); 14,745,934 parameters
(14,746,718). Train images reach 1437 and 1417: it overfits, and the original has no validation data. Here 5,000
training images are held out and the checkpoint that is best on them is evaluated;
`--config.data.split=standard_trainval --config.training.best_metric=` trains on all 60,000 and evaluates the last one.
"""

from _bruno_recipes import FAST_ON_ACCELERATOR, SMALL_CONV_BRUNO, SMOKE
from ml_collections import ConfigDict

from exflow.config import base_config


def get_config() -> ConfigDict:
    config = base_config("bruno")
    config.data.dataset = "fashion_mnist"
    config.data.rotate = False
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_rate = 0.999995
    config.optimizer.groups.process.freeze_steps = 99
    config.training.num_steps = 59_999  # the original's first iteration only initialises
    config.evaluation.splits = ("test", "train")
    config.evaluation.settings = ((5, 1), (5, 5))
    return config


STUDENT_T = {"model.bruno.process": "student_t"}
FAST = FAST_ON_ACCELERATOR | {"training.num_steps": 8_000}

VARIANTS = {
    "student_t": STUDENT_T,
    "fast": FAST,
    "fast_student_t": FAST | STUDENT_T,
    "cpu": SMALL_CONV_BRUNO,
    "cpu_student_t": SMALL_CONV_BRUNO | STUDENT_T,
    "smoke": SMALL_CONV_BRUNO | SMOKE,
}
