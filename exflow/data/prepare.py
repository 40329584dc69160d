"""Decode, resize and cache a data set once: `python -m exflow.data.prepare omniglot --image_size=28 --resize=area`.

Training prepares what it needs by itself. This command is for doing it in advance, or on a machine with internet and
TensorFlow for one without: copy the printed file to the cache folder there ($EXFLOW_CACHE_DIR, or `exflow/` inside
$TFDS_DATA_DIR).
"""

import argparse
import inspect
import sys
from typing import Any

from exflow.data import datasets, prepared
from exflow.data.labelled import resolve_options
from exflow.data.registry import SPLITS, ImageSets, known_data_sets
from exflow.errors import UserError
from exflow.imports import import_modules
from exflow.program import as_program


def describe(name: str, path: str, sets: dict[str, ImageSets]) -> str:
    """What was prepared, one line per split."""
    height, width, channels = sets["train"].images.shape[1:]
    lines = [f"{name}: {height}x{width}x{channels} in {path}"]
    for part in SPLITS:
        count = sets[part].count
        per_class = str(count.min()) if count.min() == count.max() else f"{count.min()} to {count.max()}"
        lines.append(f"  {part}: {len(count):,} classes, {len(sets[part].images):,} images, {per_class} per class")
    return "\n".join(lines)


def catalogue() -> str:
    """One line per registered data set."""
    known = known_data_sets()
    width = max(map(len, known))
    lines = {name: (inspect.getdoc(data_set.build) or "").partition("\n")[0] for name, data_set in known.items()}
    return "\n".join(f"{name:{width}}  {lines[name]}".rstrip() for name in sorted(lines))


def prepare(name: str, **options: Any) -> str:
    """Prepare a data set unless it is, and describe it.

    Raises:
      UserError: If the data set or an option is not known, or the data cannot be had or written.
    """
    sets = datasets.load(name, **options)
    if not known_data_sets()[name].cache:
        return describe(name, "memory: it is generated in seconds and needs no preparation", sets)
    path = prepared.find(name, resolve_options(name, **options))
    return describe(name, f"{path} ({path.stat().st_size / 2**20:.1f} MiB)" if path else "memory", sets)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 where the user has to do something."""
    parser = argparse.ArgumentParser(prog="python -m exflow.data.prepare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="*", help="data sets to prepare")
    parser.add_argument("--image_size", type=int, help="height and width in pixels (default: of the data set)")
    parser.add_argument("--resize", help="bilinear, area, nearest or box (default: of the data set)")
    parser.add_argument("--options", default="", help='more options of the data set, such as "digits=3, seed=1"')
    parser.add_argument("--imports", default="", help="modules or .py files with your own data sets, such as a.b,c.py")
    parser.add_argument("--list", action="store_true", help="print the known data sets")
    flags = parser.parse_args(arguments)
    try:
        import_modules([name for name in map(str.strip, flags.imports.split(",")) if name], origin="--imports")
        if flags.list or not flags.name:
            print(catalogue())
            return 0
        for name in flags.name:
            print(f"preparing {name} ...", file=sys.stderr, flush=True)
            options = datasets.parse_options(name, flags.options)
            print(prepare(name, image_size=flags.image_size, resize=flags.resize, **options), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    as_program(lambda: sys.exit(main()))
