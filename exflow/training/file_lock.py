"""An exclusive lock on an open file, by what the operating system has for it."""

import errno
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # everywhere else
    msvcrt = None

HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)  # by another open file
LOCKED_BYTE = 2**30  # Windows locks bytes, and nobody else may read them: one behind the content


def locked(file: IO[str]) -> bool:
    """Lock a file until it is closed or the process ends, however it ends.

    Returns:
      Whether nobody else holds the lock. True also where there are none: a file system without (ENOLCK, ENOTSUP), or
      an operating system.
    """
    try:
        if fcntl is not None:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            file.seek(LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
    except OSError as error:
        return error.errno not in HELD
    return True
