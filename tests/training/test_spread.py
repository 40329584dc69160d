"""Real models train to the same values on 1, 2, 4 and 8 devices, and in two processes of 4."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("spread.py")
MODELS = ("bruno", "ns")


def start(path, numbers, environment):
    command = [sys.executable, str(PROGRAM), str(path), *numbers]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, compiled_programs, repository):
    """(model, number of devices or "all" of two processes) -> losses, parameters, averages, optimiser by path."""
    folder = tmp_path_factory.mktemp("spread")
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "PYTHONPATH": str(repository),
        "JAX_COMPILATION_CACHE_DIR": str(compiled_programs),
    }
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    two = {**environment, "EXFLOW_COORDINATOR": f"localhost:{port}", "EXFLOW_NUM_PROCESSES": "2"}
    runs = [start(folder / "one.npz", ["1", "2", "4", "8"], environment)]
    runs += [start(folder / "two.npz", ["4"], two | {"EXFLOW_PROCESS_ID": str(index)}) for index in range(2)]
    outputs = [run.communicate(timeout=900)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outputs
    found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for name in ("one.npz", "two.npz"):
        with np.load(folder / name, allow_pickle=False) as arrays:
            for key in arrays.files:
                model, number, field = key.split("/", 2)
                found.setdefault((model, number), {})[field] = arrays[key]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("number", ["2", "4", "8", "all"])
def test_any_number_of_devices_trains_what_one_does(trained, model, number):
    one, several = trained[model, "1"], trained[model, number]
    assert one.keys() == several.keys()
    assert np.isfinite(one["losses"]).all()
    assert one["losses"][-1] < one["losses"][0]
    assert model != "ns" or any("statistics" in field and "params" in field for field in one)
    for field, value in one.items():
        np.testing.assert_allclose(several[field], value, rtol=1e-9, atol=1e-9, err_msg=field)
