"""Models train to the same values on 1, 2, 4 and 8 devices, and in two processes; what the devices exchange for it."""

import itertools
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.model import Model
from exflow.nn.normalization import Normalization
from exflow.training.sharding import make_mesh
from exflow.typing import Loss
from tests.training.many_devices import CASES, sizes, train
from tests.training.toy import DIM, IMAGE_SHAPE, toy_config

PROGRAM = Path(__file__).with_name("many_devices.py")
FLOAT64 = 8  # bytes
A_FEW = 16  # numbers beside gradient and moments: the loss and its parts
TOLERANCES = {"bruno": 4e-6}  # images and networks of BRUNO are float32 whatever its parameters are: 32 units of that


def normalized_model(units=(6, 3)):
    """Layers with batch normalisation over the elements that exist, and their mean squared distance from 1."""
    layer = Normalization("batch")

    def init(key, batch):
        widths, main, averages = (DIM, *units), [], []
        for rows, columns in itertools.pairwise(widths):
            variables = layer.init(key, jnp.zeros((1, 1, columns)), None, True)
            main.append({"weight": jnp.eye(rows, columns), **variables["params"]})
            averages.append(variables["batch_stats"])
        return {"main": main, "statistics": averages}

    def loss(params, key, batch):
        y, averages = batch.x_set.reshape(*batch.mask.shape, DIM) / 256, []
        for own, running in zip(params["main"], params["statistics"], strict=True):
            variables = {"params": {name: own[name] for name in ("gain", "bias")}, "batch_stats": running}
            y, new = layer.apply(variables, jnp.tanh(y @ own["weight"]), batch.mask, True, mutable=["batch_stats"])
            averages.append(new["batch_stats"])
        distances = jnp.where(batch.mask, ((y - 1) ** 2).sum(-1), 0.0)
        return Loss(distances.sum() / batch.mask.sum(), {}, averages)

    def encode(params, key, x, context=None):
        return x

    return Model("normalized", IMAGE_SHAPE, init, loss, encode, group_of=lambda name: name)


def same(several, one, tolerance=1e-9):
    """Sums over devices round differently, in float64 by 1e-16 an addition; Adam divides that by as little as 1e-8."""
    assert one.keys() == several.keys()
    assert np.isfinite(one["losses"]).all()
    for field, value in one.items():
        atol = tolerance * np.abs(value).max(initial=1)
        np.testing.assert_allclose(several[field], value, rtol=tolerance, atol=atol, err_msg=field)


@pytest.mark.usefixtures("two_devices", "x64")
def test_two_devices_share_moments_of_a_batch():
    """Gradients of gain and bias are sums that the backward pass needs anyway: they are exchanged once."""
    model, config = normalized_model(), toy_config()
    (one, alone), (two, exchanged) = (train(model, config, make_mesh(jax.devices()[:n])) for n in (1, 2))
    same(two, one)
    averages = [field for field in one if field.startswith(".params['statistics']")]
    assert len(averages) == 4
    assert alone.total == 0
    learned, moments, layers = sizes(model)
    assert (learned, moments, layers) == (16 * 6 + 6 * 3 + 2 * (6 + 3), 2 * (6 + 3), 2)
    assert exchanged.bytes.keys() == {"all-reduce"}
    assert exchanged.bytes["all-reduce"] == FLOAT64 * (learned + moments + layers + 2)  # counts; loss and its count
    assert exchanged.chain == 3 * layers + 1  # mean, variance, backward; the gradient of the first layer


def start(arguments, environment):
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def trained(name, folder, environment):
    """Sizes of a model, and by number of devices what `train` found; "processes": two of them, four devices each."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    two = {**environment, "EXFLOW_COORDINATOR": f"localhost:{port}", "EXFLOW_NUM_PROCESSES": "2"}
    runs = [start([folder / "one.npz", name, 1, 2, 4, 8], environment)]
    runs += [start([folder / "two.npz", name, 4], two | {"EXFLOW_PROCESS_ID": str(index)}) for index in range(2)]
    outputs = [run.communicate(timeout=900)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outputs
    found = {}
    for file in ("one.npz", "two.npz"):
        with np.load(folder / file, allow_pickle=False) as arrays:
            learned_and_moments = arrays["sizes"]
            for key in arrays.files:
                number, _, field = key.partition("/")
                if field:
                    found.setdefault(number, {})[field] = arrays[key]
    return learned_and_moments, found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_any_number_of_devices_trains_what_one_does(tmp_path, program_environment, name):
    (learned, moments, layers), found = trained(name, tmp_path, program_environment | {"JAX_ENABLE_X64": "1"})
    assert found.keys() == {"1", "2", "4", "8", "processes"}
    assert (layers > 0) == (name == "ns")
    exchanged = {number: arrays.pop("exchanged") for number, arrays in found.items()}
    assert not exchanged["1"].any()
    for number in found.keys() - {"1"}:
        same(found[number], found["1"], TOLERANCES.get(name, 1e-9))
        if name == "bruno":
            continue  # how much the comparison of sets exchanges depends on the sets of a device
        reduced, gathered, chain = exchanged[number]
        assert abs(reduced / FLOAT64 - (learned + moments + layers)) <= A_FEW
        assert gathered == 0
        assert chain <= 3 * layers + 2
