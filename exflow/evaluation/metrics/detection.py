"""How well scores tell anomalies from the rest, where LOW scores are anomalies: ranking measures and the flag rule.

Every measure exists for one sequence; `summarize` averages over many sequences, with standard errors over them.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from exflow.evaluation.scoring.likelihood import Estimate, ratio_estimate

FIRST = 8  # position from which on elements are judged: before, too little has been seen (Korshunova et al. 2018)
WHISKER = 1.5  # Tukey's factor on the interquartile range


class Detection(NamedTuple):
    """Means over sequences, in [0, 1]; NaN where no sequence has what the measure needs."""

    auroc: Estimate  # over sequences that hold both kinds
    average_precision: Estimate  # the same; area under the precision-recall curve
    f1: Estimate  # of the flags, counts pooled over sequences
    false_alarm_rate: Estimate  # share of normal elements that are flagged


def auroc(scores: Float[np.ndarray, " set"], anomalous: Bool[np.ndarray, " set"]) -> float:
    """Probability that a normal element scores above an anomalous one, ties counting half; NaN if a kind is missing.

    Source: the rank statistic of Mann and Whitney 1947.
    """
    normal = ~anomalous
    pairs = int(normal.sum()) * int(anomalous.sum())
    if pairs == 0:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[normal].sum() - normal.sum() * (normal.sum() + 1) / 2) / pairs)


def average_precision(scores: Float[np.ndarray, " set"], anomalous: Bool[np.ndarray, " set"]) -> float:
    """Mean over anomalies of the precision among the elements that score at most as high; NaN without anomalies.

    This is the area under the precision-recall curve as a step function, ties entering together.
    """
    if not anomalous.any():
        return float("nan")
    ordered = np.sort(scores)
    hits = np.sort(scores[anomalous])
    selected = np.searchsorted(ordered, hits, side="right")
    found = np.searchsorted(hits, hits, side="right")
    return float(np.mean(found / selected))


def threshold(scores: Float[np.ndarray, "*sequences some"]) -> Float[np.ndarray, "*sequences"]:
    """Q1 - 1.5 (Q3 - Q1) of the scores of each sequence; up to a quarter of anomalies hardly move it."""
    low, high = np.quantile(scores, (0.25, 0.75), axis=-1)
    return low - WHISKER * (high - low)


def quartile_flags(
    scores: Float[np.ndarray, "*sequences set"], first: int = FIRST
) -> Bool[np.ndarray, "*sequences set"]:
    """Elements below the threshold of the scores from position `first` on; none before it.

    The rule of BRUNO's code, which looks at a whole sequence after the fact.
    """
    below = scores < threshold(scores[..., first:])[..., np.newaxis]
    return below & (np.arange(scores.shape[-1]) >= first)


def summarize(
    scores: Float[np.ndarray, "sequences set"],
    anomalous: Bool[np.ndarray, "sequences set"],
    flags: Bool[np.ndarray, "sequences set"],
    first: int = FIRST,
) -> Detection:
    """Quality of scores and flags from position `first` on.

    Args:
      scores: Low for anomalies.
      anomalous: The truth.
      flags: Decisions.
      first: Earlier positions are left out: with so little seen, a score says little about its element.

    Returns:
      Means and their standard errors over sequences.
    """
    scores, anomalous, flags = (part[:, first:] for part in (scores, anomalous, flags))
    pairs = list(zip(scores, anomalous, strict=True))
    hits, wrong = (flags & anomalous).sum(axis=-1), (flags ^ anomalous).sum(axis=-1)
    return Detection(
        mean_estimate(np.array([auroc(*pair) for pair in pairs])),
        mean_estimate(np.array([average_precision(*pair) if not pair[1].all() else np.nan for pair in pairs])),
        _share(2 * hits, 2 * hits + wrong),
        _share((flags & ~anomalous).sum(axis=-1), (~anomalous).sum(axis=-1)),
    )


def mean_estimate(values: Float[np.ndarray, " sequences"]) -> Estimate:
    """Mean of the values that exist (are not NaN), and its standard error."""
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return Estimate(float("nan"), float("nan"))
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return Estimate(float(values.mean()), float(error))


def _share(numerator: np.ndarray, denominator: np.ndarray) -> Estimate:
    """Ratio of two sums over sequences; NaN where there is nothing to divide by."""
    if denominator.sum() == 0:
        return Estimate(float("nan"), float("nan"))
    return ratio_estimate(numerator, denominator)
