"""BRUNO on Fashion-MNIST (Korshunova et al. 2018, arXiv:1802.07535, models cn2 of its code).

    python -m exflow.main --config=configs/bruno_fashion_mnist.py         # published model, needs an accelerator
    python -m exflow.main --config=configs/bruno_fashion_mnist.py:cpu     # small model on 14x14 pixels

Published, nats per test image: 1635.4 with the Gaussian process (`:student_t`: 1661.2); 14,745,934 parameters
(14,746,718). Train images reach 1437 and 1417: it overfits, and the original has no validation data. Here 5,000
training images are held out and the checkpoint that is best on them is evaluated;
`--config.data.split=standard_trainval --config.training.best_metric=` trains on all 60,000 and evaluates the last one.
"""

from ml_collections import ConfigDict

from exflow.config import base_config


def get_config() -> ConfigDict:
    config = base_config()
    config.data.dataset = "fashion_mnist"
    config.data.rotate = False
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_rate = 0.999995
    config.optimizer.process_freeze_steps = 99
    config.training.num_steps = 59_999  # the original's first iteration only initialises
    config.evaluation.splits = ("test", "train")
    config.evaluation.settings = ((5, 1), (5, 5))
    return config


STUDENT_T = {"model.process": "student_t"}
CPU = {
    "data.pipeline": "device",
    "data.downscale": 2,
    "data.sets_per_batch": 16,
    "data.set_size": 10,
    "model.filters": 32,
    "model.residual_blocks": 1,
    "model.dense_units": 256,
    "model.initialization": "sequential",
    "model.process_init": "empirical",
    "model.learn_mean": True,
    "optimizer.name": "adam",
    "optimizer.schedule": "cosine",
    "optimizer.warmup_steps": 100,
    "optimizer.process_freeze_steps": 0,
    "optimizer.process_learning_rate_multiplier": 10.0,
    "optimizer.clip_norm": 100.0,
    "optimizer.ema_decay": 0.999,
    "training.num_steps": 3_000,
    "training.evaluate_every": 500,
}
SMOKE = {
    **CPU,
    "data.image_size": 8,
    "data.downscale": 1,
    "data.sets_per_batch": 4,
    "data.set_size": 5,
    "model.filters": 8,
    "model.dense_units": 32,
    "model.dense_couplings": 2,
    "model.process_init_batches": 1,
    "training.num_steps": 8,
    "training.log_every": 4,
    "training.evaluate_every": 8,
    "training.checkpoint_every": 4,
    "evaluation.splits": ("test",),
    "evaluation.settings": ((5, 1),),
    "evaluation.num_trials": 1,
    "evaluation.num_sample_rows": 2,
}

VARIANTS = {
    "student_t": STUDENT_T,
    "cpu": CPU,
    "cpu_student_t": CPU | STUDENT_T,
    "smoke": SMOKE,
}
