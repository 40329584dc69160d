"""Mistakes on the command line of the experiments, which need no model to be found."""

import argparse
import errno
import subprocess
import sys
from pathlib import Path

import pytest

from exflow.config import base_config
from exflow.errors import UserError
from experiments import __main__ as command
from experiments import nll, report


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


def test_numbers_do_not_depend_on_a_folder_that_can_be_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("content")
    with pytest.raises(UserError, match=r"file: cannot be written \(Not a directory\). Choose another --out."):
        command.run(["nll", "--model=x", f"--out={tmp_path / 'file'}"])

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(report.results, "write_results", full)
    entries = {"nll": report.results.result(1.25, "nats/image", "measured")}
    flags = argparse.Namespace(model=["x"], out=tmp_path)
    with pytest.raises(OSError, match="No space"):
        report.write("nll", flags, report.Report(base_config("bruno"), {}, entries, {}, []))
    assert "1.25 nats/image" in capsys.readouterr().out


def test_default_folders(tmp_path):
    """Beside the working directory; of a bundled model not where the config of its name trains."""
    assert report.folder(argparse.Namespace(model=[str(tmp_path)], out=None)) == tmp_path / "experiments"
    assert report.folder(argparse.Namespace(model=["bruno_omniglot"], out=None)) == Path(
        "runs/bundled/bruno_omniglot/experiments"
    )


@pytest.mark.parametrize("given", [["test,train"], ["test", "train"], ["test,", "train"]])
def test_splits_by_spaces_or_commas(given):
    parser = command._Parser()
    nll.add_arguments(parser)
    assert parser.parse_args(["--splits", *given]).splits == ["test", "train"]
    assert parser.parse_args([]).splits == ["test", "train"]
    with pytest.raises(UserError, match="argument --splits: expected some of train, validation, test, got 'best'"):
        parser.parse_args(["--splits", "test,best"])


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
