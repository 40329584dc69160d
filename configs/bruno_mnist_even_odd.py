"""BRUNO on MNIST, from even to odd digits (Korshunova et al. 2018, arXiv:1802.07535, models dn2 of its code).

    python -m exflow.main --config=configs/bruno_mnist_even_odd.py        # published model, needs an accelerator
    python -m exflow.main --config=configs/bruno_mnist_even_odd.py:cpu    # small model on 14x14 pixels

Trains on the digits 0, 2, 4, 6, 8 and is tested on 1, 3, 5, 7, 9. Published, nats per test image: 567.3 with the
Gaussian process (`:student_t`: 567.7); 5,510,702 parameters (5,511,486). The same with dense couplings alone is
configs/bruno_mnist_dense.py:even_odd.
"""

from ml_collections import ConfigDict

from exflow.config import base_config


def get_config() -> ConfigDict:
    config = base_config()
    config.data.dataset = "mnist_even_odd"
    config.data.rotate = False
    config.model.filters = 32
    config.model.dense_units = 256
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_rate = 0.999995
    config.optimizer.process_freeze_steps = 99
    config.training.num_steps = 49_999  # the original's first iteration only initialises
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
