"""Figures of experiments: what axes say, whole numbers under counts, categories as bars, frames with one polarity."""

import argparse
import json
import math
from contextlib import contextmanager

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from exflow.config import base_config, to_json
from experiments import (
    attention,
    cardinality,
    classification,
    comparison,
    few_shot,
    learning_curves,
    marginal,
    plots,
    refinement,
    robustness,
)


def test_axes_of_counts_have_whole_ticks_and_unused_ones_are_off(tmp_path) -> None:
    with plots.figure(tmp_path / "figure.png", columns=2) as axes:
        axes[0].plot([0, 1, 2], [0.0, 0.5, 1.0], label="a")
        plots.count_axis(axes[0], "images")
    assert axes[0].get_xlabel() == "images"
    assert all(float(tick).is_integer() for tick in axes[0].get_xticks())
    assert axes[0].get_legend() is not None
    assert axes[0].axison
    assert not axes[1].axison


def test_settings_of_a_comparison_are_bars(tmp_path, monkeypatch) -> None:
    drawn = []
    figure = plots.figure

    def kept(path):
        drawn.append(path)
        return figure(path)

    monkeypatch.setattr(plots, "figure", kept)
    entries = {f"{name}/few_shot/5way_1shot": {"value": 90.0, "ci95": 127.0} for name in "ab"}
    path = comparison.draw(tmp_path / "comparison.png", ["a", "b"], entries)
    assert drawn == [path]
    with Image.open(path) as image:
        assert image.size[0] > image.size[1]


def test_frames_are_drawn_in_the_polarity_that_is_asked_for() -> None:
    images = np.full((3, 4, 4, 1), 40, np.uint8)
    none, first = np.zeros(3, bool), np.array([True, False, False])
    for invert, shade in ((True, 215), (False, 40)):
        picture = plots.framed_sequence(images, first, none, invert, columns=3)
        assert picture.getpixel((85, 30)) == (shade,) * 3
        assert picture.getpixel((1, 30)) == plots.RED


@pytest.fixture
def drawn(monkeypatch):
    """The axes of every figure that a test draws, which is not written."""
    axes, figure = [], plots.figure

    @contextmanager
    def kept(*args, **options):
        with figure(*args, **options) as panels:
            yield panels
        axes.extend(panel for panel in panels if panel.has_data())

    monkeypatch.setattr(plots, "figure", kept)
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    return axes


def estimate(value):
    return {"value": value, "ci95": math.nan, "standard_error": 0.5, "published": {"value": value + 1}}


def draw_few_shot(path):
    entries = {f"few_shot/{way}way_{shot}shot": estimate(90.0) for way in (5, 20) for shot in (1, 5)}
    few_shot.draw(path, entries, ["test"], [5, 20], [1, 5])


def draw_cardinality(path):
    entries = {f"{part}/{size}": estimate(9.0) for part in cardinality.PARTS for size in (1, 2)}
    series = {"test": {"set_size": [1, 2], **{part: [9.0, 9.0] for part in cardinality.PARTS}}}
    cardinality.draw(path, entries, series, "nats/image")


def draw_marginal(path):
    numbers = {"x": [2, 5], "value": [9.0, 8.0], "standard_error": [0.1, 0.1]}
    marginal.draw(path, {"nll": numbers, "prediction": numbers}, "nats/image")


def draw_refinement(path):
    values = {"recognised": np.array([0.5, 1]), "recognised_error": np.zeros(2), "bound": -np.ones(2)}
    refinement.draw(path, {"fixed": values | {"bound_error": np.zeros(2)}}, ["fixed"], "nats/image")


def runs_with_outliers():
    nll = np.full(60, 50.0) + np.arange(60) % 7
    return {("wn", process): [robustness.Run("wn", process, nll, 20, 0)] for process in robustness.COLORS}


def draw_learning_curves(path):
    """Of a run with one validation and no checkpoint."""
    (path.parent / "config.json").write_text(to_json(base_config("bruno")))
    lines = [{"step": step, "split": "train", "loss": 1.0, "learning_rate": 0.1} for step in (1, 2)]
    lines.append({"step": 8, "split": "validation", "nll": 3.0, "few_shot/5way_1shot": 0.5})
    (path.parent / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    learning_curves.run(argparse.Namespace(model=[str(path.parent)], window=2), path.parent)


@pytest.mark.parametrize(
    ("draw", "across", "up"),
    [
        (draw_few_shot, ["images per class"], ["accuracy, %"]),
        (draw_cardinality, ["elements in a set"] * 4, ["nats/image"] * 4),
        (draw_marginal, ["elements in a set, n", "elements given"], ["nats/image"] * 2),
        (draw_refinement, ["step"] * 2, ["samples, %", "nats/image"]),
        (draw_learning_curves, ["step"] * 4, ["loss", "learning rate", "nats/image", "%"]),
        (
            lambda path: robustness.draw_curves(path, runs_with_outliers()),
            ["step"],
            ["training NLL, nats/image"],
        ),
        (
            lambda path: robustness.draw_reactions(path, runs_with_outliers()),
            ["steps after an outlier"],
            ["NLL over the median before, nats/image"],
        ),
    ],
)
def test_every_axis_says_what_it_shows_and_counts_are_whole(tmp_path, drawn, draw, across, up) -> None:
    draw(tmp_path / "figure.png")
    assert [axes.get_xlabel() for axes in drawn] == across
    assert [axes.get_ylabel() for axes in drawn] == up
    for axes in drawn:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(float(tick).is_integer() for tick in ticks)


def test_published_accuracies_are_named_and_have_the_colour_of_their_way(tmp_path, drawn) -> None:
    draw_few_shot(tmp_path / "figure.png")
    handles, labels = drawn[0].get_legend_handles_labels()
    assert set(labels) == {"5-way", "20-way", "5-way, published", "20-way, published"}
    colors = [handle.lines[0].get_color() if hasattr(handle, "lines") else handle.get_color() for handle in handles]
    assert (
        dict(zip(labels, colors, strict=True))["20-way"] == dict(zip(labels, colors, strict=True))["20-way, published"]
    )


@pytest.mark.parametrize(
    ("limits", "ticks"),
    [
        ((60, 900), ["100", "200", "300", "500"]),
        ((7_300, 9_900), ["8,000", "9,000"]),
        ((2, 2e5), ["10", "1,000", "100,000"]),
    ],
)
def test_logarithmic_axes_have_plain_numbers(tmp_path, drawn, limits, ticks) -> None:
    with plots.figure(tmp_path / "figure.png") as (axes,):
        axes.plot([0, 1], limits)
        axes.set_ylim(*limits)
        plots.log_axis(axes)
    shown = [label.get_text() for label in axes.get_yticklabels() if limits[0] <= label.get_position()[1] <= limits[1]]
    assert set(ticks) <= set(shown)
    assert not [label for label in axes.get_yticklabels(minor=True) if label.get_text()]


def test_weights_have_a_scale_and_images_their_numbers(tmp_path, drawn) -> None:
    images = np.zeros((2, 3, 4, 4, 1), np.uint8)
    attention.draw(tmp_path / "figure.png", images[:, 0], np.full((2, 2, 3), 1 / 3), images, invert=True)
    titles = ["sample", "head 1", "head 2", "image 1", "image 2", "image 3"]
    assert [axes.get_title() for axes in drawn] == titles + [""] * 6
    for row in (0, 6):
        scale = drawn[row + 1]
        assert scale.get_ylabel() == "weight"
        assert [label.get_text() for label in scale.get_yticklabels()] == ["0", "1/3", "0.67"]
        np.testing.assert_allclose(scale.get_yticks(), [0, 1 / 3, 2 / 3])
        assert not len(drawn[row + 2].get_yticks())


def test_confusions_have_a_scale_and_names_that_fit(tmp_path, drawn) -> None:
    number = classification.MAX_UPRIGHT + 1
    confusions = {"kl": 2 * np.eye(number, dtype=int)}
    with plots.figure(tmp_path / "figure.png", columns=2) as (matrix, draws):
        classification.draw(matrix, "kl", {"value": 100.0}, {"class_ids": range(number)}, confusions)
        classification.draw(draws, "elbo", {"value": 50.0}, {"elbo": {"accuracy": [0.25, 0.75]}}, {})
    assert matrix.get_title() == "kl, 100.0 % correct"
    assert [label.get_rotation() for label in matrix.get_xticklabels()] == [90] * number
    assert matrix.images[0].colorbar.ax.get_ylabel() == "queries of a class, %"
    np.testing.assert_array_equal(matrix.images[0].get_array(), 100 * np.eye(number))
    assert (draws.get_xlabel(), draws.get_ylabel()) == ("accuracy of a draw, %", "draws")


def test_blocks_have_a_name_or_titles_of_their_columns(monkeypatch) -> None:
    titles = []
    grid_picture = plots.grid_picture
    monkeypatch.setattr(plots, "grid_picture", lambda *args: titles.append(args[3]) or grid_picture(*args))
    images = np.zeros((2, 3, 4, 4, 1), np.uint8)
    plots.beside({"refined": images, "given": images}, True, {"refined": ["sample", "step 1", "step 2"]})
    assert titles == [["sample", "step 1", "step 2"], ["", "given", ""]]
