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
    """4 bytes per parameter, of BRUNO fewer: half of the outer weights of dense couplings meet masked numbers."""
    models, lines = load()
    assert models.keys() == {"ns", "bruno_dense", "bruno", "scha"}
    assert not any(line["quick"] or line["environment"]["commit"].endswith("-dirty") for line in lines)
    for model in models.values():
        assert (0.5 if "bruno" in model.name else 0.99) * model.gradient < model.reduced < 1.05 * model.gradient
    outer = 6 * (784 * 512 + 512 * 2 * 784)  # of six couplings of bruno_mnist_dense; scales follow from weights
    exchanged = models["bruno_dense"].gradient / 4 - outer // 2 - 6 * 2 * 512
    assert round(models["bruno_dense"].reduced / 4) == exchanged + 2  # loss and number of images
    assert models["ns"].synchronizations == 3 * 46  # layers with batch normalisation: mean, variance, backward


def test_a_row_of_the_page_by_hand():
    """The Neural Statistician with 100 sets on each of 1 and of 16 accelerators, from the digits of the page."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in scaling.PAGE.read_text().splitlines()]
    counted = next(row for row in rows if row[:2] == ["ns", "`set_vae_omniglot:ns`"])
    _, gigaflop, per_set, per_step, _, reduced, waits = (float(cell.replace(",", "")) for cell in counted[2:])
    memory = 1e6 * (per_step + 100 * per_set) / 4.8e12
    assert memory > 100 * 1e9 * gigaflop / 494.5e12
    exchange = 2 * 1e6 * reduced / 400e9 + 2 * 4 * 6e-6  # a tree of 16 over the network
    waiting = waits * 2 * 4 * 6e-6
    shown = next(row for row in rows if row[:3] == ["ns", "100", "step, ms"])[3:]
    assert float(shown[scaling.DEVICES.index(1)]) == pytest.approx(1e3 * memory, rel=5e-3)
    assert float(shown[scaling.DEVICES.index(16)]) == pytest.approx(1e3 * (memory + exchange + waiting), rel=5e-3)


def test_the_page_holds_what_the_file_says(monkeypatch, capsys):
    text = scaling.PAGE.read_text()
    assert scaling.updated(text) == text
    monkeypatch.setattr("sys.argv", ["scaling", "--network_gb=50"])
    scaling.main()
    printed = capsys.readouterr().out
    assert "| `--network_gb` | 50 |" in printed
    assert scaling.PAGE.read_text() == text
