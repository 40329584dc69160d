"""Outliers in the training of BRUNO on Fashion-MNIST (Korshunova et al. 2018, arXiv:1802.07535, models f_cn2).

    python -m exflow.main --config=configs/bruno_fashion_outliers.py --mode=train            # Gaussian process
    python -m exflow.main --config=configs/bruno_fashion_outliers.py:student_t --mode=train  # Student-t process
    python -m experiments robustness --model=runs/bruno_fashion_outliers --model=runs/bruno_fashion_outliers-student_t

In every 100th step the last image of each set is white. Adam at 1e-3 for 10,000 steps, no weight normalisation, initial
correlations drawn from U(0.1, 0.95). `:wn` has weight normalisation, `:wn_corr_high` also correlations of 0.95,
`:wn_lr_high` correlations of 0.1 and twice the learning rate; each also with `_student_t` behind it. They need an
accelerator; with `cpu` in front (`:cpu`, `:cpu_wn_student_t`, ...) six dense couplings of 256 units train for 1,000
steps. The original shows curves and no numbers.
"""

from itertools import product

from ml_collections import ConfigDict

from exflow.config import base_config


def get_config() -> ConfigDict:
    config = base_config("bruno")
    config.data.dataset = "fashion_mnist"
    config.data.rotate = False
    config.data.outlier_every = 100
    config.model.bruno.weight_norm = False
    config.model.bruno.correlation_range = (0.1, 0.95)
    config.optimizer.name = "adam"
    config.optimizer.b1 = 0.95
    config.optimizer.b2 = 0.9995
    config.training.num_steps = 10_000
    config.training.log_every = 1  # the experiment looks at single steps
    config.training.evaluate_every = 1_000
    config.evaluation.settings = ((5, 1), (5, 5))
    return config


WEIGHT_NORM = {"model.bruno.weight_norm": True}
RECIPES = {
    "": {},
    "wn": WEIGHT_NORM,
    "wn_corr_high": WEIGHT_NORM | {"model.bruno.correlation_range": (), "model.bruno.correlation": 0.95},
    "wn_lr_high": WEIGHT_NORM | {"model.bruno.correlation_range": (), "optimizer.learning_rate": 2e-3},
}
SIZES = {
    "": {},
    "cpu": {
        "data.pipeline": "device",
        "data.sets_per_batch": 8,
        "model.bruno.scales": 0,
        "model.bruno.dense_units": 256,
        "training.num_steps": 1_000,
        "training.evaluate_every": 500,
        "training.checkpoint_every": 500,
    },
}
PROCESSES = {"": {}, "student_t": {"model.bruno.process": "student_t"}}

VARIANTS = {
    "_".join(filter(None, names)): SIZES[names[0]] | RECIPES[names[1]] | PROCESSES[names[2]]
    for names in product(SIZES, RECIPES, PROCESSES)
    if any(names)
}
VARIANTS["smoke"] = SIZES["cpu"] | {
    "data.outlier_every": 4,
    "data.downscale": 4,
    "data.sets_per_batch": 4,
    "data.set_size": 5,
    "model.bruno.dense_units": 16,
    "model.bruno.dense_couplings": 2,
    "training.num_steps": 12,
    "training.evaluate_every": 12,
    "training.checkpoint_every": 6,
    "evaluation.settings": ((5, 1),),
    "evaluation.num_trials": 1,
    "evaluation.num_sample_rows": 2,
}
