"""Reasons to stop early, all of which end in a saved checkpoint: signals and the time budget."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

from exflow.training.hosts import any_host


class StopRequest:
    """Collects reasons to stop; `reason` is "" while training should go on."""

    def __init__(self, time_budget_seconds: float, start: float):
        """Start counting.

        Args:
          time_budget_seconds: Wall seconds after `start` at which to stop, 0 for no limit.
          start: Value of `time.monotonic()` when the run began.
        """
        self._deadline = start + time_budget_seconds if time_budget_seconds > 0 else None
        self._signal = ""
        self._calls = 0

    def receive(self, signal_name: str) -> None:
        """Note a signal."""
        self._signal = signal_name

    def reason(self, now: bool = False) -> str:
        """Why to stop, or ""; all hosts must ask equally often and get one answer.

        Args:
          now: Ask the other hosts in this call; otherwise they are asked in every tenth.
        """
        here = self._signal
        if not here and self._deadline is not None and time.monotonic() >= self._deadline:
            here = "time budget used up"
        self._calls += 1
        if jax.process_count() == 1:
            return here
        if not now and self._calls % 10:
            return ""
        return (here or "another host stops") if any_host(bool(here)) else ""


@contextmanager
def caught_signals(stop: StopRequest) -> Iterator[None]:
    """Turn the first SIGTERM or Ctrl-C into a request to stop; a second Ctrl-C aborts at once.

    Python delivers signals to the main thread only; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        del frame
        stop.receive(signal.Signals(number).name)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
