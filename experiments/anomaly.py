"""Detection of wrong images in sequences of one class by log p(x_n | others) - log p(x_n), where low is suspicious.

The others are the images before (streaming) or all other images of the sequence (leave_one_out). `--protocol=labelled`
puts images of another class at random positions from 8 on; `original` replaces image T - 5 by one of any class, its own
included. Entries: AUROC, average precision, and F1 and false alarms of the original's rule score < Q1 - 1.5 (Q3 - Q1),
all over the positions from 8 on and averaged over the sequences. With --reject, streaming is done once more without
absorbing what that rule flags on arrival, from the scores until then; `rejected/...` tells how much that is.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from exflow.errors import UserError
from exflow.evaluation.analysis import anomaly, correlations
from exflow.evaluation.analysis.anomaly import Sequences
from exflow.evaluation.metrics import detection
from exflow.evaluation.metrics.detection import FIRST
from exflow.evaluation.pictures.grids import captioned, save, tile
from exflow.evaluation.scoring import likelihood
from exflow.model import process_of
from experiments import plots
from experiments.report import Report, entry
from experiments.subject import add_subject_arguments, open_subject, positive

MAX_SET_SIZE = 100  # of the original
MEASURES = {
    "auroc": "probability that a normal image scores above an anomalous one",
    "average_precision": "area under the precision-recall curve",
    "f1": "F1 of the flags",
    "false_alarm_rate": "normal images that are flagged",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser)
    parser.add_argument("--protocol", choices=anomaly.PROTOCOLS, default="labelled", help="default: labelled")
    parser.add_argument("--sequences", type=int, default=1000, help="default: 1000")
    parser.add_argument("--set_size", type=int, default=0, help="default: 100, or what the classes have")
    parser.add_argument("--anomalies", type=int, default=1, help="per sequence, labelled protocol; default: 1")
    parser.add_argument("--min_correlation", type=float, help="use latent dimensions of higher correlation alone")
    parser.add_argument("--reject", action="store_true", help="also streaming without absorbing what is flagged")
    parser.add_argument("--shown", type=int, default=4, help="sequences in the figures; default: 4")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Quality of the scores as entries; scores and images of some sequences as figures."""
    positive(flags, "sequences", "shown", "anomalies")
    if flags.set_size < 0:
        raise UserError(f"--set_size: expected at least 0, got {flags.set_size}.")
    subject = open_subject(flags)
    model, params, sets = subject.model.core, subject.model.params, subject.image_sets[flags.split]
    count = np.asarray(sets.count)
    size = flags.set_size or int(min(MAX_SET_SIZE, np.sort(count)[-2:].min()))
    sequences = anomaly.draw_sequences(
        subject.rng(0), count, sets.index.shape[1], size, flags.sequences, flags.protocol, flags.anomalies
    )
    keep = None
    if flags.min_correlation is not None:
        keep = correlations.correlated_dimensions(model, params, flags.min_correlation)
    elements = subject.encode_split(flags.split)
    if keep is not None:
        params, elements = process_of(model).restrict(params, elements, keep)

    methods: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, leave_one_out in (("streaming", False), ("leave_one_out", True)):
        scores = np.asarray(anomaly.sequence_scores(model, params, elements, sequences.rows, leave_one_out), np.float64)
        methods[name] = scores, detection.quartile_flags(scores)
    rejected = None
    if flags.reject:
        scores, rejected = anomaly.rejecting_scores(model, params, elements, sequences.rows)
        methods["rejecting"] = scores, detection.quartile_flags(scores)

    used = "all latents" if keep is None else f"{keep.sum()} dimensions of correlation > {flags.min_correlation:g}"
    where = f"{flags.sequences} {flags.protocol} sequences of {size} {flags.split} images, {used}, positions >= {FIRST}"
    entries = summarize(methods, sequences.anomalous, where)
    if rejected is not None:
        for kind, chosen in (("anomalous", sequences.anomalous), ("normal", ~sequences.anomalous)):
            chosen = chosen[:, FIRST:]
            share = likelihood.ratio_estimate((rejected[:, FIRST:] & chosen).sum(axis=1), chosen.sum(axis=1))
            entries[f"rejected/{kind}"] = entry(share, "%", f"{kind} images that are not absorbed; {where}", scale=100)
    figures = [draw_scores(out / "anomaly_scores.png", methods, sequences, flags.shown)]
    shown = subject.images(sequences.rows[: flags.shown], flags.split)
    flagged, invert = methods["leave_one_out"][1], subject.inverted
    pictures = [
        plots.framed_sequence(images, sequences.anomalous[at], flagged[at], invert) for at, images in enumerate(shown)
    ]
    caption = "red: of another class; blue inside: flagged, given all others"
    figures.append(save(out / "anomaly_images.png", captioned(tile(pictures, 1), caption)))
    series = {
        "anomalous": sequences.anomalous[: flags.shown],
        **{f"{name}_scores": scores[: flags.shown] for name, (scores, _) in methods.items()},
        **{
            f"{name}_mean_score_of_normal_images": by_position(scores, sequences)
            for name, (scores, _) in methods.items()
        },
    }
    return Report(subject.config, subject.facts, entries, series, figures)


def summarize(
    methods: dict[str, tuple[np.ndarray, np.ndarray]], anomalous: np.ndarray, where: str
) -> dict[str, dict[str, Any]]:
    """Entries of all measures and methods, and the paired difference between the two ways to score."""
    entries = {}
    summaries = {name: detection.summarize(scores, anomalous, flags) for name, (scores, flags) in methods.items()}
    for measure, meaning in MEASURES.items():
        for name, summary in summaries.items():
            estimate = getattr(summary, measure)
            entries[f"{measure}/{name}"] = entry(estimate, "%", f"{meaning}; {where}", scale=100)
    each = {
        name: np.array([detection.auroc(*pair) for pair in zip(scores[:, FIRST:], anomalous[:, FIRST:], strict=True)])
        for name, (scores, _) in methods.items()
    }
    difference = detection.mean_estimate(each["leave_one_out"] - each["streaming"])
    protocol = f"paired difference over the same sequences; {where}"
    entries["auroc/leave_one_out_minus_streaming"] = entry(difference, "%", protocol, scale=100)
    return entries


def by_position(scores: np.ndarray, sequences: Sequences) -> np.ndarray:
    """Mean score of the images that are no anomalies, at every position."""
    normal = ~sequences.anomalous
    return np.where(normal, scores, 0.0).sum(axis=0) / np.maximum(normal.sum(axis=0), 1)


def draw_scores(path: Path, methods: dict[str, Any], sequences: Sequences, number: int) -> Path:
    """Scores against position for some sequences: anomalies as vertical lines, flagged elements as rings."""
    number = min(number, len(sequences.rows))
    with plots.figure(path, columns=min(number, 2), rows=-(-number // 2)) as axes:
        for at, one in enumerate(axes[:number]):
            for name, (scores, flags) in methods.items():
                (line,) = one.plot(scores[at], ".-", linewidth=0.8, markersize=3, label=name)
                places = np.flatnonzero(flags[at])
                ring = {"markersize": 9, "fillstyle": "none", "color": line.get_color()}
                one.plot(places, scores[at, places], "o", label=f"{name}: flagged", **ring)
            for number, place in enumerate(np.flatnonzero(sequences.anomalous[at])):
                label = None if number else "of another class"
                one.axvline(place, color="red", linewidth=0.8, linestyle=":", label=label)
            one.axhline(0, color=plots.GREY, linewidth=0.5)
            plots.count_axis(one, "position in the sequence")
            one.set_ylabel("log p(x | others) - log p(x), nats", fontsize=8)
    return path
