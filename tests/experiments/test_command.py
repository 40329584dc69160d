"""Mistakes on the command line of the experiments, which need no model to be found."""

import subprocess
import sys

import pytest

from exflow.errors import UserError
from experiments import __main__ as command


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["anomly"], r"'anomly': no such experiment. Did you mean 'anomaly'\?"),
        (["zzz"], r"'zzz': no such experiment. Known: few_shot, nll"),
        (["nll"], r"--model is missing, for example --model=runs/bruno_glyphs. See python -m experiments nll --help"),
        (["nll", "--model=x", "--noise=2"], r"unrecognized arguments: --noise=2"),
        (["nll", "--model=nowhere"], r"load: no working directory 'nowhere'"),
        (["nll", "--model=x", "--set_size=0"], r"--set_size: expected at least 1, got 0."),
        (["few_shot", "--model=x", "--way", "1"], r"--way: expected at least 2, got 1."),
        (["learning_curves", "--model=a", "--model=b"], r"--model: expected one working directory, got 2."),
    ],
)
def test_mistakes(argv, message):
    with pytest.raises(UserError, match=message):
        command.run(argv)


@pytest.mark.slow
def test_as_a_program_a_mistake_is_one_line(repository, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "nll", "--model=nowhere"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: load: no working directory 'nowhere'")
    assert done.stderr.count("\n") == 1
