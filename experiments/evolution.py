"""What a model believes while images arrive.

`evolution_score.png`: log p(x | x_1..n) - log p(x) and log p(x | x_1..n) of a test image against the number n of
context images, of its own class and of another one. With --same_image every sequence is one image repeated;
--black_image adds an all-black test image (which, with --same_image, follows black images).
`evolution_posterior.png`: probability of the true class among --way classes against the images seen per class.
`evolution_example.png`, `evolution_example_posterior.png`: one such case, the query above the images of each class, its
own class in the first row.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import numpy as np

from exflow.errors import UserError
from exflow.evaluation.analysis import evolution
from exflow.evaluation.analysis.streams import flat
from exflow.evaluation.metrics import detection
from exflow.evaluation.pictures.grids import grid_picture, save
from exflow.evaluation.scoring.episode_draws import draw_episodes
from exflow.evaluation.scoring.likelihood import bits_per_dim
from exflow.typing import Element
from experiments import plots
from experiments.report import Report, entry
from experiments.subject import Subject, add_subject_arguments, open_subject, positive

MAX_CONTEXT = 99  # of the original
EXAMPLE_ROWS = 5  # classes shown in the example: the true one and the most likely others


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser)
    parser.add_argument("--sequences", type=int, default=1000, help="test images to average over; default: 1000")
    parser.add_argument("--context", type=int, default=0, help="context images; default: 99, or what the classes have")
    parser.add_argument("--same_image", action="store_true", help="all images of a sequence are the same one")
    parser.add_argument("--black_image", action="store_true", help="also an all-black test image")
    parser.add_argument("--way", type=int, default=20, help="classes to tell apart; default: 20, or all")
    parser.add_argument("--shots", type=int, default=10, help="images per class that arrive; default: 10")
    parser.add_argument("--episodes", type=int, default=200, help="cases to average over; default: 200")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Both evolutions, averaged, as entries and figures."""
    positive(flags, "sequences", "shots", "episodes")
    subject = open_subject(flags, contexts=not (flags.same_image or flags.black_image))
    sets = subject.image_sets[flags.split]
    largest = int(np.sort(sets.count)[-2:].min()) - 1
    size = flags.context or min(MAX_CONTEXT, largest)
    if not 1 <= size <= largest:
        raise UserError(f"--context: expected 1 to {largest} with {flags.split} classes, got {size}.")
    elements = flat(subject.encode_split(flags.split))
    cases = score_cases(subject, flags, elements, size)
    entries, series = {}, {}
    for name, case in cases.items():
        how = f"{len(case.score)} sequences of {flags.split} images, context: {name.replace('_', ' ')}"
        mean, error = plots.mean_and_error(case.score)
        log_prob, log_prob_error = plots.mean_and_error(case.log_prob)
        series[name] = {"score": mean, "score_error": error, "log_prob": log_prob, "log_prob_error": log_prob_error}
        series[name]["bits_per_dim"] = bits_per_dim(1.0, subject.model.image_shape) * -log_prob
        for step in milestones(size):
            title = f"score/{name}/after_{step}"
            entries[title] = entry(
                detection.mean_estimate(case.score[:, step]), "nats/image", f"log p(x | x_1..{step}) - log p(x); {how}"
            )
    figures = [draw_scores(out / "evolution_score.png", series, flags.same_image)]
    posterior, found, drawn = class_probabilities(subject, flags, elements, out)
    return Report(subject.config, subject.facts, entries | found, series | posterior, figures + drawn)


def milestones(size: int) -> list[int]:
    """Numbers of context images for which the table has a line."""
    return sorted({step for step in (1, 2, 5, 10, 20, 50, size) if step <= size})


def score_cases(
    subject: Subject, flags: argparse.Namespace, elements: Element, size: int
) -> dict[str, evolution.Evolution]:
    """Evolutions by the kind of context."""
    sets, model = subject.image_sets[flags.split], subject.model
    max_count = sets.index.shape[1]
    try:
        episodes = draw_episodes(
            subject.rng(0), np.asarray(sets.count), 1, max_count, 2, size, 1, num_episodes=flags.sequences
        )
    except ValueError as error:
        raise UserError(f"--context: fewer than 2 {flags.split} classes have {size + 1} images.") from error
    test = episodes.query[:, 0, 0]

    def given(context: np.ndarray, rows: np.ndarray, table: Element) -> evolution.Evolution:
        return evolution.score_evolution(model.core, model.params, table, context, rows)

    def repeated(images: np.ndarray) -> evolution.Evolution:
        """Every image after itself, with noise of its own each time."""
        rows = np.arange(len(images) * (size + 1)).reshape(len(images), size + 1)
        table = subject.encode(np.repeat(images, size + 1, axis=0), use=1)
        return given(rows[:, 1:], rows[:, 0], table)

    if flags.same_image:
        cases = {"same_image": repeated(subject.images(test, flags.split))}
    else:
        cases = {
            "same_class": given(episodes.support[:, 0], test, elements),
            "other_class": given(episodes.support[:, 1], test, elements),
        }
    if flags.black_image:
        shown = np.zeros((1, *model.image_shape), np.uint8)
        if flags.same_image:
            return cases | {"black_image": repeated(shown)}
        table = jax.tree.map(lambda *leaves: np.concatenate(leaves), subject.encode(shown, use=1), elements)
        cases["black_image"] = given(episodes.support[:, 0] + 1, np.zeros(len(test), np.int64), table)
    return cases


def draw_scores(path: Path, series: dict[str, Any], same_image: bool) -> Path:
    """Score and log-density against the number of context images."""
    with plots.figure(path, columns=2) as axes:
        for name, values in series.items():
            steps = np.arange(len(values["score"]))
            plots.band(axes[0], steps, values["score"], values["score_error"], label=name.replace("_", " "))
            plots.band(axes[1], steps, values["log_prob"], values["log_prob_error"], label=name.replace("_", " "))
        axes[0].set_ylabel("log p(x | context) - log p(x), nats", fontsize=8)
        axes[1].set_ylabel("log p(x | context), nats", fontsize=8)
        for one in axes:
            plots.count_axis(one, "times the image was seen" if same_image else "context images")
    return path


def class_probabilities(
    subject: Subject, flags: argparse.Namespace, elements: Element, out: Path
) -> tuple[dict[str, Any], dict[str, Any], list[Path]]:
    """Probability of the true class against the images seen per class: series, entries and figures."""
    sets, model = subject.image_sets[flags.split], subject.model
    count = np.asarray(sets.count)
    usable = int((count > flags.shots).sum())
    way = min(flags.way, usable)
    if way < 2:
        raise UserError(f"--way, --shots: {usable} {flags.split} classes have {flags.shots + 1} images, 2 are needed.")
    episodes = draw_episodes(
        subject.rng(1), count, 1, sets.index.shape[1], way, flags.shots, 1, num_episodes=flags.episodes
    )
    log_posterior = evolution.posterior_evolution(
        model.core, model.params, elements, episodes.support, episodes.query[..., 0]
    )
    probability = np.exp(np.diagonal(log_posterior, axis1=2, axis2=3))  # [episode, step, query of class k]
    mean, error = plots.mean_and_error(probability.mean(axis=-1))
    best = log_posterior.argmax(axis=-1) == np.arange(way)
    accuracy = best.mean(axis=(0, 2))
    how = f"{flags.episodes} episodes of {way} {flags.split} classes with one query each"
    entries = {
        f"true_class_probability/{way}way_{shot}shot": entry(
            detection.mean_estimate(probability[:, shot].mean(axis=-1)), "%", f"mean posterior; {how}", scale=100
        )
        for shot in milestones(flags.shots)
    }
    path = out / "evolution_posterior.png"
    with plots.figure(path) as (axes,):
        steps = np.arange(flags.shots + 1)
        plots.band(axes, steps, mean, error, label="probability of the true class")
        axes.plot(steps[1:], accuracy[1:], "--", color=plots.GREY, label="accuracy")
        axes.axhline(1 / way, color=plots.GREY, linewidth=0.5, label="chance")
        plots.count_axis(axes, "images per class")
        axes.set_ylabel("probability, share of queries", fontsize=8)
        axes.set_title(f"{way}-way classification", fontsize=9)
    support, query = (subject.images(rows[0], flags.split) for rows in (episodes.support, episodes.query))
    rivals = 1 + np.argsort(-log_posterior[0, 1:, 0, 1:].max(axis=0))
    shown = [0, *rivals[: EXAMPLE_ROWS - 1].tolist()]
    names = ["query", "row 1, true class", *(f"row {row}" for row in range(2, len(shown) + 1))]
    grid = grid_picture(support[shown], query[0], subject.inverted, names=names)
    example = save(out / "evolution_example.png", grid)
    curves = out / "evolution_example_posterior.png"
    with plots.figure(curves) as (axes,):
        for row, label in enumerate(shown, 1):
            axes.plot(steps, np.exp(log_posterior[0, :, 0, label]), ".-", linewidth=1.2, label=names[row])
        plots.count_axis(axes, "images per class")
        axes.set_ylabel("p(class | query)", fontsize=8)
    series = {"true_class_probability": mean, "true_class_probability_error": error, "accuracy": accuracy}
    return {f"{way}_way": series}, entries, [path, example, curves]
