"""Drawings brought to bright ink on black, as models of drawings see them, whatever their own polarity is."""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from exflow.raw_images.paper import CLEAN, border, find_paper, is_blank, is_clean, is_one_sided, whitened

MOSTLY = 0.9  # share of the border that is black or white, where the paper is

Gray = UInt8[np.ndarray, "_ _"]


def bright_ink(pictures: Sequence[Gray], dark_by_default: bool) -> list[Gray]:
    """Drawings as bright ink on black, each decided on its own: what covers the border and most of it is paper.

    Ink that is darker than the paper is inverted. Plain black or white paper stays as it is; paper of another shade,
    or of several, is estimated below the ink and taken out.

    Args:
      pictures: Drawings in either polarity.
      dark_by_default: Whether the ink is dark where a picture does not tell.

    Returns:
      Drawings of the same sizes. Warns of those that do not tell.
    """
    done, unclear = [], []
    for number, gray in enumerate(pictures):
        picture, clear = _bright_ink(gray, dark_by_default)
        done.append(picture)
        unclear += [] if clear else [number]
    if unclear:
        numbers = ", ".join(map(str, unclear[:5])) + (", ..." if len(unclear) > 5 else "")
        taken = "dark" if dark_by_default else "bright"
        warnings.warn(
            f"preprocess: cannot tell ink from paper in {len(unclear)} of {len(pictures)} pictures ({numbers}); the "
            f"ink is taken as {taken}. Set invert=True for dark ink, invert=False for bright ink.",
            stacklevel=4,
        )
    return done


def _bright_ink(gray: Gray, dark_by_default: bool) -> tuple[Gray, bool]:
    """One drawing, and whether it tells its polarity."""
    sides = border(gray)
    for inverted in (False, True):
        plain, opposite = (sides >= 255 - CLEAN, gray <= CLEAN) if inverted else (sides <= CLEAN, gray >= 255 - CLEAN)
        if plain.mean() >= MOSTLY and opposite.mean() <= 0.5:
            return 255 - gray if inverted else gray, True
    paper = find_paper(gray)
    if not is_blank(paper) and not is_one_sided(paper):
        return 255 - gray if dark_by_default else gray, False
    if paper.darker < 0.5:
        gray, paper = 255 - gray, paper._replace(shade=255 - paper.shade)
    return 255 - (gray if is_clean(paper) else whitened(gray, paper)), True
