"""The command line: flags, default folders, exit codes, one-line errors."""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from exflow import main as command
from exflow import modes
from exflow.config import available_configs
from exflow.errors import UserError
from exflow.training import loop


@pytest.fixture
def calls(monkeypatch):
    """Records what the command line calls instead of doing it."""
    made = []
    for mode in command.MODES:
        monkeypatch.setitem(modes.MODES, mode, lambda config, workdir, mode=mode: made.append((mode, config, workdir)))
    return made


def test_default_mode_trains_and_evaluates_in_a_folder_named_after_the_config(calls):
    command.main(["--config=configs/bruno_glyphs.py"])
    ((mode, config, workdir),) = calls
    assert (mode, workdir) == ("train_and_evaluate", Path("runs/bruno_glyphs"))
    assert (config.name, config.variant) == ("bruno_glyphs", "")


def test_flags_and_overrides_arrive(calls, tmp_path):
    command.main(
        ["--config", "bruno_glyphs:smoke", f"--workdir={tmp_path}", "--mode=sample", "--config.data.set_size=9"]
    )
    mode, config, workdir = calls[-1]
    assert (mode, workdir, config.data.set_size, config.variant) == ("sample", tmp_path, 9, "smoke")


def test_variant_is_part_of_the_default_folder(calls):
    command.main(["--config=bruno_glyphs:smoke"])
    assert calls[-1][2] == Path("runs/bruno_glyphs-smoke")


def test_the_names_are_those_of_the_table():
    assert tuple(modes.MODES) == command.MODES


def test_mistakes_are_found_without_jax(repository):
    argv = ["--config=bruno_glyphs:smoke", "--config.training.num_step=3"]
    program = (
        "import sys; from exflow.errors import UserError; from exflow.main import resolve\n"
        f"try: resolve({argv})\n"
        "except UserError: print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_value_may_hold_equals_signs_and_dashes():
    _, overrides = command.parse(["--config=x.py", "--config.name=a=b", "--config.optimizer.boost=-1"])
    assert overrides == [("name", "a=b"), ("optimizer.boost", "-1")]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], r"--config is missing, for example --config=configs/\w+.py. See .*--help"),
        (["--confg=x.py"], r"--confg=x.py: no such flag. Did you mean --config\?"),
        (["--config=x.py", "--work=d"], r"--work=d: no such flag. Did you mean --workdir\?"),
        (["--config=x.py", "extra"], r"extra: no such flag. See --help."),
        (["--config=x.py", "--mode=trian"], r"argument --mode: invalid choice: 'trian' \(choose from '?train_and"),
        (["--config=x.py", "--config.data.set_size", "3"], r"--config.data.set_size: expected .*set_size=VALUE."),
    ],
)
def test_mistakes_in_flags(argv, message):
    with pytest.raises(UserError, match=message):
        command.parse(argv)


def test_help_names_every_mode_and_config(capsys):
    with pytest.raises(SystemExit) as stop:
        command.parse(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for word in (*command.MODES, *available_configs(), "--workdir", "--config.SECTION.KEY=VALUE"):
        assert word in text


def _main(monkeypatch, *argv):
    monkeypatch.setattr(sys, "argv", ["exflow", *argv])
    command.main()


def test_user_error_is_one_line_and_exit_code_2(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        _main(monkeypatch, "--config=nowhere.py")
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: --config: no file 'nowhere.py'.")
    assert err.count("\n") == 1


def test_debug_shows_the_traceback(monkeypatch):
    with pytest.raises(UserError, match="no file 'nowhere.py'"):
        _main(monkeypatch, "--config=nowhere.py", "--debug")


def test_other_errors_keep_their_traceback(monkeypatch, calls):
    def broken(config, workdir):
        raise ZeroDivisionError("a defect")

    monkeypatch.setitem(modes.MODES, "train_and_evaluate", broken)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        _main(monkeypatch, "--config=bruno_glyphs:smoke")


def test_as_a_program_a_mistake_costs_one_line_and_leaves_no_folder(repository, tmp_path):
    command_line = [sys.executable, "-m", "exflow.main", "--config=bruno_glyphs:smoke", "--config.model.filter=3"]
    workdir = tmp_path / "run"
    done = subprocess.run(
        [*command_line, f"--workdir={workdir}"], cwd=repository, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: config.model.filter: no such key. Did you mean config.model.bruno.filters?\n"
    assert not workdir.exists()


def test_ctrl_c_after_training_was_saved_ends_the_command(monkeypatch):
    stopped = loop.FitResult(None, 3, False, "SIGINT", 1.0, 1.0, None)
    monkeypatch.setattr(modes, "set_up", lambda *arguments: nullcontext())
    monkeypatch.setattr(modes, "validation", lambda run: None)
    monkeypatch.setattr(modes, "fit", lambda run, validate: stopped)
    for mode in ("train", "train_and_evaluate"):
        with pytest.raises(SystemExit) as stop:
            command.main(["--config=bruno_glyphs:smoke", f"--mode={mode}"])
        assert stop.value.code == 130
    for reason in ("SIGTERM", "time budget used up"):  # to be resumed by whoever sent it
        monkeypatch.setattr(modes, "fit", lambda run, validate, reason=reason: stopped._replace(reason=reason))
        command.main(["--config=bruno_glyphs:smoke"])
