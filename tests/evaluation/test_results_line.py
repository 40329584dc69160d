"""The line of the original results file: exact text, and names that would not be read back."""

import pytest

from exflow.evaluation.results_line import LineScores, results_line


def test_the_line():
    sets = {"samples_cov": LineScores(10000, 12.5, 0.0123, 0.001), "reco": LineScores(9900, 3.0, 0.002, 0.0005)}
    assert results_line(12, 81.25, 10000, sets, {"samples_cov": (0.975, 0.5)}) == (
        "e:12 loss_eval:81.25 nref:10000 samples_cov ntest:10000 fid:12.5 kid_mean:0.0123 kid_std:0.001 "
        "reco ntest:9900 fid:3 kid_mean:0.002 kid_std:0.0005 samples_cov f8/18:0.975/0.5"
    )
    assert results_line(0, 1 / 3, 1, {}) == "e:0 loss_eval:0.333333 nref:1"


def test_names_are_words():
    for name in ("two words", "a:b", ""):
        with pytest.raises(ValueError, match=f"expected names without spaces and colons, got '{name}'"):
            results_line(0, 0.0, 1, {name: LineScores(1, 0.0, 0.0, 0.0)})
