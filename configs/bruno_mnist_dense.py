"""BRUNO of dense couplings alone on MNIST (Korshunova et al. 2018, arXiv:1802.07535, models en2 of its code).

    python -m exflow.main --config=configs/bruno_mnist_dense.py         # published recipe, Gaussian process
    python -m exflow.main --config=configs/bruno_mnist_dense.py:cpu     # the same model, trained hours less

Six dense couplings of 512 units on 28x28 pixels: 8,821,472 parameters (8,822,256 with `:student_t`). `:even_odd` and
`:even_odd_student_t` train on even digits and are tested on odd ones, with 256 units: 4,023,008 and 4,023,792.

Published, nats per test image after 100,000 updates of 64 sets: 848.5 (Gaussian), 836.3 (Student-t); even to odd 1014.8
and 932.2. The original validated on test images; here 5,000 training images are held out, and
`--config.data.split=standard_trainval --config.training.best_metric=` trains on all.

`:fast`, `:fast_student_t`, `:fast_even_odd` and `:fast_even_odd_student_t` reach 837.8, 840.5, 929.3 and 895.3 (one
seed) after 30,000 updates by Adam, 4 to 5 minutes each while six runs shared one H200.
"""

from _bruno_recipes import FAST_ADAM, SMOKE
from ml_collections import ConfigDict

from exflow.config import base_config


def get_config() -> ConfigDict:
    config = base_config("bruno")
    config.data.dataset = "mnist"
    config.data.pipeline = "device"
    config.data.sets_per_batch = 64
    config.data.rotate = False
    config.model.bruno.scales = 0
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_rate = 0.999995
    config.optimizer.groups.process.freeze_steps = 99
    config.training.num_steps = 99_999  # the original's first iteration only initialises
    config.evaluation.splits = ("test", "train")
    config.evaluation.settings = ((5, 1), (5, 5))
    return config


STUDENT_T = {"model.bruno.process": "student_t"}
EVEN_ODD = {"data.dataset": "mnist_even_odd", "model.bruno.dense_units": 256}
FAST = FAST_ADAM | {
    "optimizer.learning_rate": 2e-3,
    "optimizer.warmup_steps": 200,
    "training.steps_per_call": 50,
    "training.num_steps": 30_000,
    "training.evaluate_every": 5_000,
}
CPU = FAST | {
    "data.sets_per_batch": 16,
    "model.compute_dtype": "bfloat16_products",
    "training.steps_per_call": 1,
    "training.num_steps": 42_000,
    "training.evaluate_every": 2_500,
}

VARIANTS = {
    "student_t": STUDENT_T,
    "even_odd": EVEN_ODD,
    "even_odd_student_t": EVEN_ODD | STUDENT_T,
    "fast": FAST,
    "fast_student_t": FAST | STUDENT_T,
    "fast_even_odd": FAST | EVEN_ODD,
    "fast_even_odd_student_t": FAST | EVEN_ODD | STUDENT_T,
    "cpu": CPU,
    "cpu_student_t": CPU | STUDENT_T,
    "cpu_even_odd": CPU | EVEN_ODD,
    "cpu_even_odd_student_t": CPU | EVEN_ODD | STUDENT_T,
    "smoke": CPU | SMOKE,
}
