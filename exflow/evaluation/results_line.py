"""The one-line summary that the original LBAE code appends to its `results.txt`, for tools that read such files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class LineScores(NamedTuple):
    """Distances of one set of images to the reference."""

    num_images: int
    fid: float
    kid_mean: float
    kid_deviation: float  # between subsets


def results_line(
    epoch: int,
    loss: float,
    num_reference: int,
    sets: Mapping[str, LineScores],
    precision_recall: Mapping[str, tuple[float, float]] | None = None,
) -> str:
    """Sections and fields separated by spaces: a bare word names a section, `name:value` is a field.

    Args:
      epoch: Of the evaluated checkpoint.
      loss: Reconstruction loss on test images.
      num_reference: Reference images.
      sets: By section, in this order: "samples_cov", "samples_int", "samples_random", "reco".
      precision_recall: By name, F_8 (weights recall) and F_1/8 (weights precision).

    Returns:
      The line, without line break.

    Raises:
      ValueError: A name that would not be read back as a word.
    """
    for name in (*sets, *(precision_recall or ())):
        if not name or any(sign in name for sign in " :\n\t"):
            raise ValueError(f"sets: expected names without spaces and colons, got {name!r}. Rename it.")
    parts = [f"e:{epoch}", f"loss_eval:{loss:.6g}", f"nref:{num_reference}"]
    for name, scores in sets.items():
        parts += [name, f"ntest:{scores.num_images}", f"fid:{scores.fid:.6g}"]
        parts += [f"kid_mean:{scores.kid_mean:.6g}", f"kid_std:{scores.kid_deviation:.6g}"]
    for name, (recall, precision) in (precision_recall or {}).items():
        parts += [name, f"f8/18:{recall:.6g}/{precision:.6g}"]
    return " ".join(parts)


def line_of(entries: Mapping[str, Mapping[str, Any]], epoch: int, split: str = "test") -> str | None:
    """The line of entries of `results.json`; None where a reconstruction loss or distances are missing.

    Args:
      entries: Of an evaluation with the evaluators `reconstruction` and `sample_quality`.
      epoch: Of the checkpoint.
      split: That was evaluated.
    """
    loss = entries.get(f"{split}_reconstruction")
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, entry in entries.items():
        parts = re.fullmatch(rf"{split}_(sampler_\w+|reconstruction)/(\w+)\[.*\]", name)
        if parts:
            section = "reco" if parts[1] == "reconstruction" else parts[1].replace("sampler", "samples")
            found.setdefault(section, {})[parts[2]] = entry
    complete = {section: scores for section, scores in found.items() if {"fid", "kid"} <= scores.keys()}
    if loss is None or not complete:
        return None
    number = next(iter(complete.values()))["fid"]["num_images"]
    return results_line(
        epoch,
        loss["value"],
        number,
        {
            section: LineScores(number, scores["fid"]["value"], scores["kid"]["value"], scores["kid"]["deviation"])
            for section, scores in complete.items()
        },
        {
            section: (scores["prd_f8"]["value"], scores["prd_f1_8"]["value"])
            for section, scores in complete.items()
            if "prd_f8" in scores
        },
    )


def append_line(workdir: Path, entries: Mapping[str, Mapping[str, Any]], epoch: int) -> None:
    """Append the line, if there is one, to `results.txt`."""
    line = line_of(entries, epoch)
    if line is not None:
        with (Path(workdir) / "results.txt").open("a") as file:
            file.write(line + "\n")
