"""How commands end: mistakes, full disks and Ctrl-C are one line for the user and an exit code for the shell."""

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from exflow.errors import UserError

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
INTERRUPTED = 130  # 128 + SIGINT


@contextmanager
def reported(debug: bool = False) -> Iterator[None]:
    """Tell in one line what ends a command early, and exit.

    Exit code 2: a mistake of the user, or a disk that is full or cannot be written. 130: Ctrl-C.

    Args:
      debug: Show the traceback of a mistake.

    Raises:
      SystemExit: With one of these codes.
    """
    try:
        yield
    except UserError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if debug or error.errno not in DISK:
            raise
        print(f"error: {told(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def told(error: OSError) -> str:
    """One line about a disk that is full or refuses."""
    where = error.filename or "a file"
    return f"{where}: cannot be written or read ({error.strerror}). Free disk space, or choose another folder."


def as_program(command: Callable[[], object]) -> None:
    """Run a command as the program that it is: one that Ctrl-C ended dies of SIGINT.

    The shell then shows 130, and a loop around the program ends too, which it would not after a mere exit with 130.
    """
    try:
        command()
    except (SystemExit, KeyboardInterrupt) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        sys.excepthook = _silent
        raise KeyboardInterrupt from None


def _silent(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Instead of the traceback of Ctrl-C."""
