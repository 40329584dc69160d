"""Every config file against what the paper's code says of that model: parameters, training, splits."""

import functools
import json

import jax
import pytest

from exflow.config import base_config, load_config
from exflow.loading import params_like
from exflow.models.registry import build

COUNTS = {  # trainable parameters of the original graphs; exflow's constant process mean is not among them
    "bruno_omniglot": ((28, 28, 1), 14_745_934),
    "bruno_omniglot:student_t": ((28, 28, 1), 14_746_718),
    "bruno_omniglot_finetune": ((28, 28, 1), 14_746_718),
    "bruno_omniglot_finetune:gaussian": ((28, 28, 1), 14_745_934),
    "bruno_fashion_mnist": ((28, 28, 1), 14_745_934),
    "bruno_fashion_mnist:student_t": ((28, 28, 1), 14_746_718),
    "bruno_cifar10": ((32, 32, 3), 35_873_098),
    "bruno_cifar10:student_t": ((32, 32, 3), 35_876_170),
    "bruno_mnist_even_odd": ((28, 28, 1), 5_510_702),
    "bruno_mnist_even_odd:student_t": ((28, 28, 1), 5_511_486),
    "bruno_mnist_dense": ((28, 28, 1), 8_821_472),
    "bruno_mnist_dense:cpu": ((28, 28, 1), 8_821_472),
    "bruno_mnist_dense:student_t": ((28, 28, 1), 8_822_256),
    "bruno_mnist_dense:cpu_student_t": ((28, 28, 1), 8_822_256),
    "bruno_mnist_dense:even_odd": ((28, 28, 1), 4_023_008),
    "bruno_mnist_dense:cpu_even_odd": ((28, 28, 1), 4_023_008),
    "bruno_mnist_dense:even_odd_student_t": ((28, 28, 1), 4_023_792),
    "bruno_mnist_dense:cpu_even_odd_student_t": ((28, 28, 1), 4_023_792),
}


@functools.cache
def count(model_section, image_shape):
    """Trainable parameters of a BRUNO; several configs share a model."""
    config = base_config("bruno")
    config.model.update(json.loads(model_section))
    params = params_like(build(config, image_shape), config)
    process = {key: leaf for key, leaf in params["process"].items() if key != "mean"}
    return sum(leaf.size for leaf in jax.tree.leaves((params["flow"], process)))


# The other processes have the parameters that they have here, and the second convolutional config what the first has
SLOW = [name for name in COUNTS if name.endswith("student_t") and name != "bruno_mnist_dense:student_t"]
SLOW += ["bruno_omniglot_finetune", "bruno_mnist_even_odd"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in COUNTS])
def test_parameter_count(name):
    image_shape, published = COUNTS[name]
    config = load_config(name, [("model.block_loop", "scan")])  # traces fast; the parameters are the same
    assert count(config.model.to_json(), image_shape) == published


@pytest.mark.parametrize(
    ("name", "sets", "set_size", "updates", "final_rate"),
    [  # learning rate of the last update, from lr(i) = 1e-3 * 0.999995^(i + 1), times 1.5 on Omniglot
        ("bruno_omniglot", 32, 20, 200_000, 5.5e-4),
        ("bruno_fashion_mnist", 32, 20, 59_999, 7.4e-4),
        ("bruno_mnist_even_odd", 32, 20, 49_999, 7.8e-4),
        ("bruno_mnist_dense", 64, 20, 99_999, 6.1e-4),
        ("bruno_cifar10", 16, 20, 69_999, 7.0e-4),
        ("bruno_omniglot_finetune", 160, 2, 50_000, 2.3e-5),
    ],
)
def test_training_is_the_published_one(name, sets, set_size, updates, final_rate):
    from exflow.training.schedules import learning_rate_schedule

    config = load_config(name)
    assert (config.data.sets_per_batch, config.data.set_size, config.training.num_steps) == (sets, set_size, updates)
    assert config.optimizer.name == "rmsprop"
    rate = float(learning_rate_schedule(config.optimizer, updates)(updates - 1))
    assert float(f"{rate:.2g}") == final_rate


def test_only_omniglot_is_rotated():
    for name in COUNTS:
        assert load_config(name).data.rotate == ("omniglot" in name), name
