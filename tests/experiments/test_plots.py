"""Figures of experiments: whole numbers under counts, categories as bars, frames with one polarity."""

import numpy as np
from PIL import Image

from experiments import comparison, plots


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
