"""Few-shot classification by a set VAE that was not trained for it, over many draws of the support images.

`kl`: least divergence between the posteriors of the latents of the set given the support and given the query alone.
`elbo`: largest gain of the evidence lower bound when the query joins the support (the slow one: --bound_queries).
`reconstruction`: largest likelihood of the query under one of the reconstructed support images.

    python -m experiments classification --model=DIR --way=20 --shot=5          # the model's own test classes
    python -m experiments classification --model=DIR --dataset=mnist --way=10   # ten digits

Intervals are for the mean over draws. `classification.png`: which class was taken for which, where there are few.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.latents.elements import EncodedElement, SeenElements
from exflow.core.likelihoods.likelihood import Likelihood
from exflow.errors import UserError
from exflow.evaluation import results
from exflow.evaluation.scoring import few_shot
from exflow.evaluation.scoring.episode_draws import Episodes, draw_episodes
from exflow.model import LatentFunctions
from exflow.models.set_vae.classes import best_reconstruction_scores, kl_scores
from exflow.models.set_vae.sampling import reconstruct
from exflow.typing import Params
from experiments import plots
from experiments.latents import latents_of, open_set_vae, terms_of, through, values_of
from experiments.published_set_vae import published_accuracy
from experiments.report import Report
from experiments.subject import Subject, add_subject_arguments, positive

RULES = ("kl", "elbo", "reconstruction")
MAX_CLASSES = 30  # of a matrix that can be read
MAX_UPRIGHT = 10  # names beside each other below it
LINE_HEIGHT = 0.14  # inches of a name
PAIR_ENTRIES = 2**25  # latent entries of (query, class) pairs at once

Scores = Float[np.ndarray, "query way"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser)
    parser.add_argument("--way", type=int, default=10, help="classes to tell apart; default: 10")
    parser.add_argument("--shot", type=int, default=5, help="support images of each; default: 5")
    parser.add_argument("--draws", type=int, default=100, help="of classes, support images and queries; default: 100")
    parser.add_argument("--queries", type=int, default=15, help="per class and draw, if there are; 0: all; default: 15")
    parser.add_argument("--bound_queries", type=int, default=1, help="the same for the rule elbo; default: 1")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES), help="default: all three")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Accuracies as entries, confusions as series and figure."""
    positive(flags, "way", "shot", "draws", "bound_queries")
    subject = open_set_vae(flags, set_latents=set(flags.rules) != {"reconstruction"})
    sets = subject.image_sets[flags.split]
    count = np.asarray(sets.count)
    usable = int((count > flags.shot).sum())
    if flags.way > usable:
        need = f"{usable} {flags.split} classes of more than {flags.shot} images"
        raise UserError(f"--way: there are {need}, got {flags.way}. Use fewer ways or shots.")
    most = int(np.sort(count)[-flags.way]) - flags.shot
    queries = min(flags.queries, most) if flags.queries else most
    number = {"num_query": queries, "num_episodes": flags.draws}
    episodes = draw_episodes(subject.rng(0), count, 1, sets.index.shape[1], flags.way, flags.shot, **number)
    entries, series, confusions = {}, {}, {}
    for rule in dict.fromkeys(flags.rules):
        print(f"rule {rule}")
        asked = episodes
        if rule == "elbo":
            asked = episodes._replace(query=episodes.query[..., : flags.bound_queries])
        correct, confusion = score(SCORERS[rule](subject, flags.split, asked), asked, sets.index.shape[1], len(count))
        accuracy = few_shot.summarize(correct)
        task = f"{flags.way}-way {flags.shot}-shot, {subject.config.data.dataset} {flags.split} classes"
        protocol = f"{task}, {flags.draws} draws of the support, {asked.query[0].size} queries each; rule {rule}"
        reference = published_accuracy(subject, flags.split, flags.way, flags.shot) if rule == "kl" else None
        entries[f"accuracy/{rule}"] = results.result(
            100 * accuracy.mean, "%", protocol, reference, ci95=100 * accuracy.ci95
        )
        series[rule] = {"accuracy": accuracy.trials}
        if len(count) <= MAX_CLASSES:
            confusions[rule] = series[rule]["confusion"] = confusion
    series["class_ids"] = np.asarray(sets.class_ids) if len(count) <= MAX_CLASSES else []
    path = out / "classification.png"
    side = LINE_HEIGHT * max(map(len, confusions.values()), default=0)  # inches that the names of the classes need
    sizes = {"width": max(4.2, side + 2.0), "height": max(3.4, side + 1.2)}
    with plots.figure(path, columns=len(series) - 1, **sizes) as panels:
        for axes, rule in zip(panels, entries, strict=True):
            draw(axes, rule.partition("/")[2], entries[rule], series, confusions)
    return Report(subject.config, subject.facts, entries, series, [path])


def score(scores: list[Scores], episodes: Episodes, max_count: int, num_classes: int) -> tuple[list[float], np.ndarray]:
    """Accuracy of every episode, and how often each class (row) was taken for each (column)."""
    way, number = episodes.query.shape[1:]
    target, correct = np.repeat(np.arange(way), number), []
    confusion = np.zeros((num_classes, num_classes), int)
    for one, support in zip(scores, episodes.support, strict=True):
        correct.append(float(few_shot.count_correct(one, target)[1].mean()))
        classes = support[:, 0] // max_count
        np.add.at(confusion, (classes[target], classes[one.argmax(axis=1)]), 1)
    return correct, confusion


def by_divergence(subject: Subject, split: str, episodes: Episodes) -> list[Scores]:
    """Divergences between posteriors; those of single images are computed once for all episodes."""
    images, place = np.unique(episodes.query, return_inverse=True)
    alone = through(_posteriors, subject, values_of(subject, images[:, np.newaxis], split))
    number, way, shot = episodes.support.shape
    given = through(_posteriors, subject, values_of(subject, episodes.support.reshape(-1, shot), split))
    pair_entries = sum(q.mean[0].size for q in given) * way
    parts = -(-episodes.query[0].size * pair_entries // PAIR_ENTRIES)
    scores = []
    for at, rows in enumerate(place.reshape(number, -1)):
        supports = _rows(given, slice(at * way, (at + 1) * way))
        found = [_kl_scores(supports, _rows(alone, part)) for part in np.array_split(rows, parts)]
        scores.append(np.concatenate(jax.device_get(found)))
    return scores


def by_bound(subject: Subject, split: str, episodes: Episodes) -> list[Scores]:
    """Evidence lower bound for the support and the query, less that for the support; with the same random numbers."""
    scores = []
    for support, query in zip(episodes.support, episodes.query, strict=True):
        given, asked = values_of(subject, support, split), values_of(subject, query.reshape(-1), split)
        pairs = np.broadcast_to(given, (len(asked), *given.shape))
        added = np.broadcast_to(asked[:, np.newaxis, np.newaxis], (*pairs.shape[:2], 1, *pairs.shape[3:]))
        unions = np.concatenate([pairs, added], axis=2)
        after = terms_of(subject, unions.reshape(-1, *unions.shape[2:])).elbo
        scores.append(after.reshape(len(asked), -1) - terms_of(subject, given).elbo)
    return scores


def by_reconstruction(subject: Subject, split: str, episodes: Episodes) -> list[Scores]:
    """Log-likelihood under the best of the reconstructed support images, with latents at their means."""
    scores = []
    for support, query in zip(episodes.support, episodes.query, strict=True):
        outputs = through(_reconstructed, subject, values_of(subject, support, split))
        asked = values_of(subject, query.reshape(-1), split)
        scores.append(np.asarray(_reconstruction_scores(latents_of(subject).likelihood, outputs, asked)))
    return scores


SCORERS: dict[str, Callable[[Subject, str, Episodes], list[Scores]]] = {
    "kl": by_divergence,
    "elbo": by_bound,
    "reconstruction": by_reconstruction,
}


def _posteriors(
    latents: LatentFunctions, params: Params, element_set: EncodedElement, mask: Array
) -> list[DiagonalGaussian]:
    return latents.set_posteriors(params, SeenElements(element_set, mask))


def _reconstructed(latents: LatentFunctions, params: Params, element_set: EncodedElement, mask: Array) -> Array:
    return reconstruct(latents, params, None, element_set, mask)


def _rows(posteriors: list[DiagonalGaussian], rows: slice | np.ndarray) -> list[DiagonalGaussian]:
    return jax.tree.map(lambda leaf: leaf[rows], posteriors)


_kl_scores = jax.jit(kl_scores)


@functools.partial(jax.jit, static_argnums=0)
def _reconstruction_scores(law: Likelihood, outputs: Array, values: Array) -> Array:
    return best_reconstruction_scores(law, outputs, jnp.ones(outputs.shape[:2], bool), values)


def draw(
    axes: Any, rule: str, accuracy: dict[str, Any], series: dict[str, Any], confusions: dict[str, np.ndarray]
) -> None:
    """The matrix of confusions of a rule, or the accuracies of its draws where there are too many classes."""
    axes.set_title(f"{rule}, {accuracy['value']:.1f} % correct", fontsize=9)
    if rule in confusions:
        shares = 100 * confusions[rule] / np.maximum(confusions[rule].sum(axis=1, keepdims=True), 1)
        shown = axes.imshow(shares, cmap="Greys", vmin=0, vmax=100)
        scale = axes.figure.colorbar(shown, ax=axes, shrink=0.8)
        scale.set_label("queries of a class, %", fontsize=8)
        scale.ax.tick_params(labelsize=8)
        names = [str(label) for label in series["class_ids"]]
        axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > MAX_UPRIGHT else 0)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("taken for", fontsize=8)
        axes.set_ylabel("class", fontsize=8)
    else:
        axes.hist(100 * np.asarray(series[rule]["accuracy"]), bins=20, color=plots.GREY)
        axes.set_xlabel("accuracy of a draw, %", fontsize=8)
        axes.set_ylabel("draws", fontsize=8)
        axes.yaxis.get_major_locator().set_params(integer=True)
