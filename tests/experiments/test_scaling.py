"""Predictions of step times on many accelerators: the formula by hand, and the page that shows them."""

import pytest

from experiments import scaling
from experiments.scaling_model import Accelerator, Counts, load, predict

MACHINE = Accelerator(100.0, 2.0, 0.5, 8, 100.0, 10.0, 1.0, 10.0)
COUNTS = Counts(
    "toy", "toy", 5, 16, flop=(2e10, 1e11), accessed=(1e9, 1e9), reduced=1e9, gradient=1e9, synchronizations=3
)


def test_all_reduce_of_a_large_and_of_a_small_array():
    ring_of_8 = 2 * 7 / 8 * 1e9 / 100e9 + 14 * 1e-6
    assert MACHINE.reduce_seconds(1e9, 8) == pytest.approx(ring_of_8)
    tree_of_1024 = 2 * 1e9 / 10e9 + 20 * 10e-6  # over the network; a ring would take 2,046 hops
    assert MACHINE.reduce_seconds(1e9, 1024) == pytest.approx(tree_of_1024)
    assert MACHINE.reduce_seconds(0, 2) == pytest.approx(2e-6)
    assert MACHINE.reduce_seconds(1e9, 1) == 0


def test_the_step_is_arithmetic_or_memory_and_then_exchange():
    step = predict(COUNTS, MACHINE, 8, sets=4)  # 0.42 TFLOP at 100 TFLOP/s; 5 GB at 2 TB/s, each at half the rate
    assert step.compute == pytest.approx(2 * 4.2e-3)
    assert step.exchange == pytest.approx(2 * 7 / 8 * 1e9 / 100e9 + 14e-6)
    assert step.waiting == pytest.approx(3 * 6e-6)
    alone = predict(COUNTS, MACHINE, 1, sets=0.1)
    assert (alone.compute, alone.exchange) == (pytest.approx(2 * 1.1e9 / 2e12), 0)
    assert (step.alone, step.overlapped) == (step.compute + step.exchange + step.waiting, step.exchange + step.waiting)
    half = predict(COUNTS, MACHINE, 1024, 4, share=0.5)
    assert half.exchange == pytest.approx(1e9 / 10e9 + 20 * 10e-6)


def test_enough_sets_for_90_percent():
    free = COUNTS._replace(synchronizations=0)
    sets = int(scaling.enough_sets(free, MACHINE, 8))
    shares = [(step.compute / step.alone) for step in (predict(free, MACHINE, 8, n) for n in (sets // 2, sets))]
    assert shares[0] < 0.9 <= shares[1]


def test_the_counted_volume_is_that_of_the_gradient():
    """4 bytes per parameter, fewer where some are not learned (a mean), and moments of batch normalisation."""
    models, lines = load()
    assert not any(line["quick"] or line["environment"]["commit"].endswith("-dirty") for line in lines)
    for model in models.values():
        assert 0.999 * model.gradient < model.reduced < 1.05 * model.gradient, model.name


def test_the_page_holds_what_the_file_says(monkeypatch, capsys):
    text = scaling.PAGE.read_text()
    assert scaling.updated(text) == text
    monkeypatch.setattr("sys.argv", ["scaling", "--network_gb=50"])
    scaling.main()
    printed = capsys.readouterr().out
    assert "| `--network_gb` | 50 |" in printed
    assert scaling.PAGE.read_text() == text
