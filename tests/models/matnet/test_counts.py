"""Numbers of parameters and of latents of the published networks, from shapes alone."""

import math

import jax
import pytest

from exflow.config import load_config
from exflow.models.matnet.networks.plan import plan
from tests.models.matnet.small import config_of, network, shapes_of

CONV = {
    "levels": "7-64-5,14-64-5,28-32-0",
    "top_latent_dim": 32,
    "latent_dim": 4,
    "top_hidden": 128,
    "top_shortcuts": False,
    "shortcut_encoder": (),
    "entry_layers": 0,
    "exit_layers": 0,
    "normalization": "none",
}
FIRST_CODE = {
    "block": "projection",
    "entry_normalized": False,
    "shortcut_encoder": (),
    "merge_state": False,
    "activation": "relu",
    "scale_owner": "inference",
}
FIRST_CONV = FIRST_CODE | {"latent_dim": 16, "top_hidden": 256}
OMNIGLOT = CONV | {"levels": "7-128-5,14-64-5,28-32-0", "top_hidden": 256}
REFINER = OMNIGLOT | {"levels": "7-128-3,14-64-3,28-32-5-gru", "latent_dim": 6, "summed_outputs": True}
DEPTHS = (2_054_544, 3_861_008, 5_667_472, 7_473_936, 9_280_400, 11_086_864)
COUNTS = {  # options, parameters, latents
    "dense": ({}, 18_506_129, 512),
    "maps": (CONV, 4_398_482, 4_932),
    "maps, difference": (CONV | {"merge_difference": True}, 4_767_122, 4_932),
    "first maps": (FIRST_CONV | {"levels": "7-256-1,14-128-1,28-64-0"}, 18_250_242, 3_984),
    "first maps, narrow": (FIRST_CONV | {"levels": "7-128-1,14-64-1,28-32-0"}, 6_920_034, 3_984),
    "omniglot": (OMNIGLOT, 12_605_330, 4_932),
    "refiner": (REFINER, None, 27_962),
}
BY_DEFAULT = ("maps", "dense")


def size(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in BY_DEFAULT)) for name in COUNTS]
)
def test_count(name):
    options, parameters, latents = COUNTS[name]
    module = network(options, 28)
    assert module.plan.num_latents() == latents
    assert parameters is None or size(shapes_of(module)["params"]) == parameters


@pytest.mark.parametrize(
    "groups", [pytest.param(groups, marks=[pytest.mark.slow] * (groups != 2)) for groups in range(1, 7)]
)
def test_count_of_the_depth_sweep(groups):
    section = load_config(f"matnet_depth:j{groups}").model.matnet.to_dict()
    module = network(section, 28)
    assert size(shapes_of(module)["params"]) == DEPTHS[groups - 1]
    assert module.plan.num_latents() == 64 * groups


def test_parts_of_the_convolutional_network():
    shapes = shapes_of(network(CONV, 28))["params"]
    generator, inference = shapes["generator"], shapes["inference"]
    bottom_up = size((inference["bottom_up"], inference["to_top"]))
    assert size(generator) - 1 == 1_226_049  # without the one factor
    assert bottom_up == 1_204_736
    assert size(inference) - bottom_up == 1_967_696


def test_latents_of_natural_images():
    options = config_of(CONV | {"levels": "8-192-2,16-144-4,32-96-4", "latent_dim": 6}).model.matnet
    assert plan(options, 3, (32, 32, 3)).num_latents() == 31_520
