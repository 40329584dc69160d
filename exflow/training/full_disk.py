"""A full disk is one line for the user, however many threads of however many libraries run into it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from exflow.program import DISK
from exflow.training.checkpoint_format import quiet_about_abandoned_arrays


@contextmanager
def told_once() -> Iterator[None]:
    """Keep the tracebacks of failed writes in background threads from the terminal.

    What fails there is raised again where training waits for it, and told by then. Orbax logs it too, with a traceback
    per thread that it passes and under other types, and Python reports the threads of TensorBoard. Other errors are
    reported as ever.
    """
    logger, report = logging.getLogger("absl"), threading.excepthook

    def unheard(record: logging.LogRecord) -> bool:
        return not (record.exc_info and (_is_disk(record.exc_info[1]) or "orbax" in record.pathname))

    def hook(arguments: Any) -> None:
        if not _is_disk(arguments.exc_value):
            report(arguments)

    logger.addFilter(unheard)
    threading.excepthook = hook
    try:
        with quiet_about_abandoned_arrays():
            yield
    finally:
        threading.excepthook = report
        logger.removeFilter(unheard)


def _is_disk(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in DISK
