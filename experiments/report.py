"""What an experiment hands back, and the files it leaves: one JSON file beside its figures."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from exflow.evaluation import results
from exflow.evaluation.scoring.likelihood import Estimate


class Report(NamedTuple):
    """Result of one experiment."""

    config: ConfigDict  # of the model, or of the first of several
    facts: dict[str, Any]  # source, step, num_parameters, seed, ...
    results: dict[str, dict[str, Any]]  # entries from `exflow.evaluation.results.result`
    series: dict[str, Any]  # the numbers behind the figures
    figures: list[Path]


def folder(flags: argparse.Namespace) -> Path:
    """Where the files go: --out, or `experiments` in the (first) working directory, or in runs/bundled/<bundled name>.

    A config of the name of a bundled model has runs/<name> for itself.
    """
    if flags.out is not None:
        return flags.out
    first = Path(flags.model[0]).expanduser()
    return (first if first.is_dir() else Path("runs") / "bundled" / first.name) / "experiments"


def write(name: str, flags: argparse.Namespace, report: Report) -> Path:
    """Write `<out>/<name>.json` and print its table; the figures are there already."""
    path = folder(flags) / f"{name}.json"
    content = {
        "experiment": name,
        "command": shlex.join(["python", "-m", "experiments", *sys.argv[1:]]),
        "options": {key: value for key, value in vars(flags).items() if key not in ("model", "out")},
        **report.facts,
        "results": report.results,
        "series": plain(report.series),
        "figures": [figure.name for figure in report.figures],
        "config": report.config.to_dict(),
        "hardware": results.hardware(),
        "versions": results.versions(),
        "commit": results.commit(),
    }
    if report.results:
        print(results.table(report.results))  # before what a full disk could prevent
    results.write_results(path, content)
    print(f"{path}" + (f" and {len(report.figures)} figures" if report.figures else ""))
    return path


def entry(
    estimate: Estimate, unit: str, protocol: str, scale: float = 1.0, published: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One entry of the results from an estimate with its standard error; `scale` 100 makes percent of a share."""
    error = scale * estimate.standard_error
    return results.result(scale * estimate.value, unit, protocol, published, standard_error=error)


def plain(value: Any) -> Any:
    """Value with lists for arrays, numbers with six digits."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    return float(f"{value:.6g}") if isinstance(value, float) else value
