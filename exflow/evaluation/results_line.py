"""The one-line summary that the original LBAE code appends to its `results.txt`, for tools that read such files."""

from collections.abc import Mapping
from typing import NamedTuple


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
