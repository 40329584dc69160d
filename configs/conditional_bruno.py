"""Conditional BRUNO: unseen views of an object from a few of its views (Korshunova et al. 2018, NeurIPS workshop).

    python -m exflow.main --config=configs/conditional_bruno.py                  # published model m1, an accelerator
    python -m exflow.main --config=configs/conditional_bruno.py:cpu              # rotated glyphs, 10 core-minutes

The default is the published model m1 on 32x32 ShapeNet renders of aeroplanes and chairs: 15,460,314 trained parameters
and 13,312 constants, scored on 15 views given 1. The renders cannot be downloaded: $EXFLOW_SHAPENET_VIEWS names their
folder (see `exflow/data/sources/shapenet_views.py`). Its code multiplied the gradients of the process by 0 until
iteration 499, 0.5 until 999, then 1; under RMSProp only the 0 has an effect, `optimizer.groups.process.freeze_steps`.

- `m1_a`: m1 with Adam. `m1_b`: Adam, twelve categories, 500,000 updates.
- `solids` (procedural chairs and aeroplanes), `rotated_glyphs`, `rotated_mnist`, `coil` (100 photographed objects in
  colour, $EXFLOW_COIL): m1 on data with the same protocol. The first two need no download.
- `cpu`, `cpu_solids`, `cpu_coil`: small models on 16x16 views for two CPU cores, with the clean conditioning. `cpu`
  knows that its views are rotations (`model.bruno.turn_back`); `cpu_without_turn` has to learn it, and does not.

No likelihood was published. Every variant reports on held-out objects, against 0, 1, 2, 4 and 8 given views: nats per
view and bits per dimension, coverage of the predictive intervals, and error of the predicted picture.
"""

from ml_collections import ConfigDict

from exflow.config import base_config


def get_config() -> ConfigDict:
    config = base_config("bruno")
    config.data.dataset = "shapenet_views"
    config.data.image_size = 32
    config.data.sets_per_batch = 4
    config.data.set_size = 16
    config.data.rotate = False
    config.model.bruno.conditioning = "original"
    config.model.bruno.scales = 3
    config.model.bruno.residual_blocks = 6
    config.model.bruno.dense_units = 256
    config.objective.num_given = 1
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_rate = 0.999995
    config.optimizer.groups.process.freeze_steps = 499
    config.training.checkpoint_every = 5_000
    config.evaluation.nll_set_size = 16
    return config


ADAM = {"optimizer.name": "adam"}
IN_MEMORY = {"data.pipeline": "device"}

CPU = {
    **IN_MEMORY,
    "data.dataset": "rotated_glyphs",
    "data.options": "num_train=5000",
    "data.image_size": 16,
    "data.sets_per_batch": 16,
    "data.set_size": 10,
    "model.bruno.conditioning": "clean",
    "model.bruno.scales": 0,
    "model.bruno.initialization": "sequential",
    "model.bruno.bounded_features": True,
    "model.bruno.process_init": "empirical",
    "model.bruno.process_init_batches": 16,
    "model.bruno.learn_mean": True,
    "objective.num_given": 0,  # all numbers of views are trained, which gains more from each further one
    "optimizer.name": "adam",
    "optimizer.schedule": "cosine",
    "optimizer.warmup_steps": 100,
    "optimizer.groups.process.freeze_steps": 0,
    "optimizer.groups.process.learning_rate_multiplier": 10.0,
    "optimizer.clip_norm": 100.0,
    "optimizer.ema_decay": 0.999,
    "training.num_steps": 6_000,
    "training.evaluate_every": 1_000,
    "training.checkpoint_every": 1_000,
}

VARIANTS = {
    "m1_a": ADAM,
    "m1_b": ADAM | {"data.options": "categories=twelve", "training.num_steps": 500_000},
    "rotated_glyphs": IN_MEMORY | {"data.dataset": "rotated_glyphs"},
    "rotated_mnist": IN_MEMORY | {"data.dataset": "rotated_mnist"},
    "solids": IN_MEMORY | {"data.dataset": "solids"},
    "coil": IN_MEMORY | {"data.dataset": "coil"},
    "cpu": CPU | {"model.bruno.turn_back": True},
    "cpu_without_turn": CPU,
    "cpu_solids": CPU | {"data.dataset": "solids", "data.options": "num_train=2000"},
    "cpu_coil": {
        **CPU,
        "data.dataset": "coil",
        "data.options": "",
        "training.num_steps": 1_500,
        "training.evaluate_every": 250,
        "training.checkpoint_every": 250,
    },
    "smoke": {
        **CPU,
        "data.options": "num_train=20, num_validation=4, num_test=4",
        "data.image_size": 8,
        "data.sets_per_batch": 4,
        "data.set_size": 4,
        "model.bruno.turn_back": True,
        "model.bruno.dense_units": 16,
        "model.bruno.dense_couplings": 2,
        "model.bruno.process_init_batches": 1,
        "training.num_steps": 8,
        "training.log_every": 4,
        "training.evaluate_every": 8,
        "training.checkpoint_every": 4,
        "evaluation.num_sample_rows": 2,
    },
}
