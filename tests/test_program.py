"""How commands end, as the shell sees it."""

import errno
import signal
import subprocess
import sys

import pytest

from exflow.errors import UserError
from exflow.program import reported

PROGRAM = """
import sys
from exflow.program import as_program, reported
def command():
    with reported():
        raise {error}
as_program(command)
"""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("key: wrong. Do this."), 2, "error: key: wrong. Do this.\n"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            2,
            "error: a file: cannot be written or read (No space left",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "run/x"),
            2,
            "error: run/x: cannot be written or read (Perm",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_one_line_and_an_exit_code(capsys, error, code, line):
    with pytest.raises(SystemExit) as stop, reported():
        raise error
    assert stop.value.code == code
    told = capsys.readouterr().err
    assert told.startswith(line)
    assert told.count("\n") == 1


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "No such file"), RuntimeError("bug")])
def test_other_errors_keep_their_traceback(error):
    with pytest.raises(type(error)), reported():
        raise error


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        ("KeyboardInterrupt", -signal.SIGINT, "interrupted\n"),  # 130 in a shell, whose loops then end too
        ("SystemExit(3)", 3, ""),
    ],
)
def test_as_a_program(error, code, told):
    command = [sys.executable, "-c", PROGRAM.format(error=error)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (code, told)
