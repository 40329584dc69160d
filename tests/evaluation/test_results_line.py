"""The line of the original results file: exact text, and names that would not be read back."""

import pytest

from exflow.evaluation.results_line import LineScores, append_line, line_of, results_line


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


def test_the_line_of_an_evaluation(tmp_path):
    def scores(value):
        return {
            "fid[28x28-ab]": {"value": value, "num_images": 500},
            "kid[28x28-ab]": {"value": value / 100, "deviation": 0.25},
            "prd_f8[28x28-ab]": {"value": 0.5},
            "prd_f1_8[28x28-ab]": {"value": 0.75},
        }

    found = {"sampler_cov": scores(3.0), "reconstruction": scores(1.0)}
    entries = {"test_reconstruction": {"value": 80.5}}
    entries |= {f"test_{source}/{name}": entry for source, of in found.items() for name, entry in of.items()}
    line = (
        "e:7 loss_eval:80.5 nref:500 samples_cov ntest:500 fid:3 kid_mean:0.03 kid_std:0.25 "
        "reco ntest:500 fid:1 kid_mean:0.01 kid_std:0.25 samples_cov f8/18:0.5/0.75 reco f8/18:0.5/0.75"
    )
    assert line_of(entries, 7) == line
    for _ in range(2):
        append_line(tmp_path, entries, 7)
    assert (tmp_path / "results.txt").read_text() == f"{line}\n{line}\n"
    assert line_of({"test_reconstruction": {"value": 80.5}}, 7) is None
    assert line_of({name: entry for name, entry in entries.items() if "/" in name}, 7) is None
