"""BRUNO on CIFAR-10 (Korshunova et al. 2018, arXiv:1802.07535, models an2 of its code).

    python -m exflow.main --config=configs/bruno_cifar10.py         # published model, needs an accelerator
    python -m exflow.main --config=configs/bruno_cifar10.py:cpu     # small model on 16x16 pixels

Published, bits/dim on test images: 3.654 with the Gaussian process (`:student_t`: 3.651); 35,873,098 parameters
(35,876,170). Train images reach 3.45 and 3.43. Here 5,000 training images are held out for validation;
`--config.data.split=standard_trainval --config.training.best_metric=` trains on all.
"""

from _bruno_recipes import SMALL_CONV_BRUNO, SMOKE
from ml_collections import ConfigDict

from exflow.config import base_config


def get_config() -> ConfigDict:
    config = base_config("bruno")
    config.data.dataset = "cifar10"
    config.data.image_size = 32
    config.data.sets_per_batch = 16
    config.data.rotate = False
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_rate = 0.999995
    config.optimizer.groups.process.freeze_steps = 99
    config.training.num_steps = 69_999  # the original's first iteration only initialises
    config.evaluation.splits = ("test", "train")
    config.evaluation.settings = ((5, 1), (5, 5))
    return config


STUDENT_T = {"model.bruno.process": "student_t"}

VARIANTS = {
    "student_t": STUDENT_T,
    "cpu": SMALL_CONV_BRUNO,
    "cpu_student_t": SMALL_CONV_BRUNO | STUDENT_T,
    "smoke": SMALL_CONV_BRUNO | SMOKE,
}
