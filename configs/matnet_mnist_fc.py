"""Dense Matryoshka networks of MNIST (Bachman 2016, arXiv:1612.04739, final code).

    python -m exflow.main --config=configs/matnet_mnist_fc.py            # binarised anew in every batch
    python -m exflow.main --config=configs/matnet_mnist_fc.py:static     # the fixed binarisation
    python -m exflow.main --config=configs/matnet_mnist_fc.py:cpu        # the same network, 120 epochs; or cpu_static

Seven groups of 64 latents below a top of 64, states of 512 units, a shortcut encoder, batch normalisation with noise:
18,506,129 parameters. `:gru` has ten groups that share recurrent modules. `:workshop` (1024 units, four groups of 128)
and `:workshop_static` (512 units, four of 64) are the models of the first published code, whose numbers their author
withdrew: they were trained on test images.

Differences from the code: batch normalisation keeps running averages for evaluation (`model.matnet.normalization=
batch_statistics` is the code's, whose bound of an image depends on its neighbours), 10,000 training images are held out
for validation, nothing reads test images before the evaluation, and the recurrent candidate has its own kernel.
"""

from _matnet_recipes import CPU, SMOKE, TRAIN_IMAGES, WORKSHOP, schedule, single_images
from ml_collections import ConfigDict

BATCH = 100
EPOCH = TRAIN_IMAGES // BATCH


def get_config() -> ConfigDict:
    config = single_images("mnist", BATCH)
    config.data.options = "num_validation=10000"
    config.update_from_flattened_dict(FULL)
    return config


FULL = schedule((10, 50, 100, 250), 500, 1_500, BATCH) | {
    "objective.annealing_steps": 25 * EPOCH,
    "objective.sleep_start_step": 50 * EPOCH,
    "optimizer.groups.generator.l2": 4e-5,
    "optimizer.groups.inference.l2": 4e-5,
}
STATIC = {"data.dataset": "binarized_mnist", "data.options": ""}
GRU = schedule((10, 50, 100, 250), 500, 2_500, BATCH) | {
    "model.matnet.levels": "512-10",
    "model.matnet.block": "gru",
    "model.matnet.activation": "tanh",
    "optimizer.groups.generator.l2": 8e-5,
    "optimizer.groups.inference.l2": 8e-5,
}
WORKSHOP_FC = (
    WORKSHOP
    | schedule((50, 100, 200, 300), 500, 1_000, 200)
    | {
        "model.matnet.levels": "1024-4",
        "model.matnet.latent_dim": 128,
        "model.matnet.top_hidden": 128,
        "objective.annealing_steps": 25 * TRAIN_IMAGES // 200,
        "objective.repeats": 10,
    }
)
WORKSHOP_STATIC = WORKSHOP_FC | STATIC | {"model.matnet.levels": "512-4", "model.matnet.latent_dim": 64}
SHORT = (
    schedule((20, 40), 60, 60, BATCH)
    | CPU
    | {
        "objective.annealing_steps": 10 * EPOCH,
        "objective.sleep_start_step": 0,
        # Products of one device run on all cores; a second would repeat Adam, and sum 18.5 million gradients with it
        "training.num_devices": 1,
    }
)

VARIANTS = {
    "static": STATIC,
    "gru": GRU,
    "workshop": WORKSHOP_FC,
    "workshop_static": WORKSHOP_STATIC,
    "cpu": SHORT,
    "cpu_static": SHORT | STATIC,
    "cpu_sleep": SHORT | {"objective.sleep_start_step": 50 * EPOCH},
    "cpu_gru": GRU | SHORT | {"training.num_devices": 0},
    "smoke": SMOKE | {"model.matnet.levels": "32-2", "objective.sleep_start_step": 6},
    "smoke_gru": SMOKE | GRU | SMOKE | {"model.matnet.levels": "32-2", "objective.sleep_start_step": 6},
}
