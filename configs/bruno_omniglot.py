"""BRUNO on Omniglot, Vinyals split (Korshunova et al. 2018, arXiv:1802.07535, table 1).

    python -m exflow.main --config=configs/bruno_omniglot.py                  # published model, needs an accelerator
    python -m exflow.main --config=configs/bruno_omniglot.py:cpu              # small model for two CPU cores
    python -m exflow.main --config=configs/bruno_omniglot.py:cpu_generative   # the same, likelihood alone

Expected on test characters (5-way 1-shot / 5-way 5-shot / 20-way 1-shot / 20-way 5-shot, with dequantization noise):

- published model: 86.3 / 95.6 / 69.2 / 87.7 %, 537 nats at 28x28 after 200,000 updates. It was trained on 1,200
  characters; this config keeps 172 of them for validation. `--config.data.split=vinyals_trainval
  --config.training.best_metric=` uses all 1,200 and evaluates the last checkpoint.
- `:fast`, the same network by Adam, averaged, with bfloat16 products; not trained through yet.
- `:cpu`, 14x14 pixels: 96.6 / 99.3 / 89.9 / 97.6 % (+- 0.2 over three seeds), 331 nats, 16 core-minutes of training.
- `:bundled`, 14x14 pixels, the model that comes with exflow (`exflow.load("bruno_omniglot")`): 97.5 / 99.5 / 92.9 /
  98.4 %, 394 nats, 66 core-minutes (8,000 of its 12,000 steps). `:cpu` with twice as many classes in an episode, a
  third of the generative weight, and warps that make new classes.
- `:cpu_generative`, 14x14 pixels: 51.6 / 69.9 / 28.8 / 48.4 %, 265 nats, 22 core-minutes of training. Few-shot
  quality does not follow from likelihood.
"""

from _bruno_recipes import FAST_ON_ACCELERATOR, FEW_STEPS
from ml_collections import ConfigDict

from exflow.config import base_config


def get_config() -> ConfigDict:
    config = base_config("bruno")
    config.data.dataset = "omniglot"
    config.data.split = "vinyals"
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_rate = 0.999995
    config.optimizer.boost = 1.5
    config.optimizer.boost_step = 99  # the original's iteration 100, its iteration 0 being the initialisation
    config.optimizer.groups.process.freeze_steps = 99
    return config


CPU = {
    "data.resize": "area",
    "data.downscale": 2,
    "data.pipeline": "device",
    "data.sets_per_batch": 20,
    "data.set_size": 8,
    "data.distinct": True,
    "data.augment.probability": 0.5,
    "data.augment.rotation_degrees": 10.0,
    "data.augment.scale": 0.1,
    "data.augment.shear": 0.1,
    "data.augment.translation": 0.04,
    "model.bruno.filters": 32,
    "model.bruno.residual_blocks": 1,
    "model.bruno.dense_units": 256,
    "model.bruno.initialization": "sequential",
    "model.bruno.bounded_features": True,
    "model.bruno.process_init": "empirical",
    "model.bruno.process_init_batches": 16,
    "model.bruno.learn_mean": True,
    "objective.generative_weight": 0.3 / 196,  # 0.3 nats per latent dimension
    "objective.discriminative_weight": 1.0,
    "objective.shots": (1, 5),
    "objective.temperature": 5.0,
    "objective.learn_temperature": True,
    "optimizer.name": "adam",
    "optimizer.schedule": "cosine",
    "optimizer.warmup_steps": 100,
    "optimizer.boost": 1.0,
    "optimizer.groups.process.learning_rate_multiplier": 10.0,
    "optimizer.groups.process.freeze_steps": 0,
    "optimizer.clip_norm": 1.0,
    "optimizer.ema_decay": 0.999,
    "training.num_steps": 5_000,
    "training.evaluate_every": 1_000,
    "training.checkpoint_every": 1_000,
    "training.best_metric": "few_shot/20way_1shot",
    "training.best_mode": "max",
}

BUNDLED = {
    **CPU,
    "data.sets_per_batch": 32,
    "data.set_size": 6,
    "data.augment.probability": 0.7,
    "data.augment_set.probability": 0.25,
    "data.augment_set.rotation_degrees": 15.0,
    "data.augment_set.scale": 0.15,
    "data.augment_set.shear": 0.15,
    "model.bruno.process_init_batches": 8,
    "objective.generative_weight": 0.00051,  # 0.1 nats per latent dimension
    "objective.shots": (1, 4),
    "training.num_steps": 12_000,
}

STUDENT_T = {"model.bruno.process": "student_t"}
FAST = FAST_ON_ACCELERATOR | {"training.num_steps": 8_000, "optimizer.boost": 1.0}

VARIANTS = {
    "student_t": STUDENT_T,
    "fast": FAST,
    "fast_student_t": FAST | STUDENT_T,
    "bundled": BUNDLED,
    "cpu": CPU,
    "cpu_generative": {
        **CPU,
        "objective.discriminative_weight": 0.0,
        "objective.learn_temperature": False,
        "training.num_steps": 3_000,
        "training.best_metric": "nll",
        "training.best_mode": "min",
    },
    "smoke": {
        **CPU,
        **FEW_STEPS,
        "data.image_size": 8,
        "data.downscale": 1,
        "model.bruno.filters": 8,
        "model.bruno.dense_units": 32,
        "model.bruno.dense_couplings": 2,
        "model.bruno.process_init_batches": 1,
    },
}
