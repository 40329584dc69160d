"""What a builder takes from other data sets and from files of the user, noted while it runs.

A prepared file keeps these notes, so that it is not used any longer when something behind it has changed.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from exflow.data.fingerprint import digest, encode

DATA_SET, FILES = "data set", "files"  # kinds of notes
_NOTES: ContextVar[list[str] | None] = ContextVar("notes", default=None)


@contextmanager
def recording() -> Iterator[list[str]]:
    """Collects what is noted meanwhile; an outer recording gets the same."""
    outer, notes = _NOTES.get(), []
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)
        if outer is not None:
            outer.extend(notes)


def note(kind: str, name: str, state: str) -> None:
    """Note what a result depends on, if anybody records it.

    Args:
      kind: `DATA_SET` or `FILES`.
      name: Of the data set, or of the environment variable that names the files.
      state: Digest of the data set's source, or of the files.
    """
    note_all([json.dumps([kind, name, state])])


def note_all(lines: Iterable[str]) -> None:
    """Note again what was noted earlier."""
    notes = _NOTES.get()
    if notes is not None:
        notes.extend(line for line in lines if line not in notes)


def state_of_files(path: Path) -> str:
    """Digest of the names, sizes and times of a file, or of all files in a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(file.relative_to(path).as_posix(), file.stat()) for file in files if file.is_file()]
    return digest(encode([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]))
