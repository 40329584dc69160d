"""What a reproduction must reach: every published number with the band inside which a run counts as faithful.

The bands come from the spread of the published seeds and of small variants of one recipe in the history of the original
code. `python -m experiments.table` sets our results beside them.
"""

from typing import NamedTuple

from exflow.evaluation.published import numbers


class Target(NamedTuple):
    """A published number, and the configs that answer it."""

    title: str
    metric: str  # name in results.json
    published: str
    accept: float
    aim: float
    configs: tuple[str, ...]  # name[:variant] of runs at the published size
    reduced: tuple[str, ...] = ()  # runs of smaller models or images, reported as such
    smaller_is_better: bool = True
    missing: str = "not trained: needs an accelerator"  # what to say where there is no run

    def accepts(self, value: float) -> bool:
        """Whether a value is inside the band."""
        return value <= self.accept if self.smaller_is_better else value >= self.accept


def _published(entry: str, digits: int, *rows: str) -> str:
    """Published numbers of an entry, one for each row of the data file."""
    return " / ".join(f"{numbers('bruno', row)[entry]:.{digits}f}" for row in rows)


def _both(row: str) -> tuple[str, str]:
    """The rows of both processes."""
    return f"{row} gaussian", f"{row} student_t"


def _few_shot(setting: str, accept: float, aim: float, configs: tuple, reduced: tuple) -> Target:
    kind = "fine-tuned" if "finetune" in configs[0] else "generative"
    entry = f"few_shot/{setting}"
    way, shot = setting.split("_")
    title = f"Omniglot {way.replace('way', '-way')} {shot.replace('shot', '-shot')} %, {kind}"
    published = _published(entry, 1, f"omniglot {kind}")
    return Target(title, entry, published, accept, aim, configs, reduced, smaller_is_better=False)


GENERATIVE = tuple(f"bruno_omniglot{variant}" for variant in ("", ":student_t", ":fast", ":fast_student_t"))
FINE_TUNED = tuple(f"bruno_omniglot_finetune{variant}" for variant in ("", ":gaussian", ":mixed", ":fast"))
REDUCED_GENERATIVE = ("bruno_omniglot:cpu_generative",)
REDUCED_DISCRIMINATIVE = ("bruno_omniglot:cpu", "bruno_omniglot:bundled", "bruno_omniglot_finetune:cpu")

TARGETS = (
    Target(
        "Omniglot, nats",
        "test_nll",
        _published("test_nll", 1, *_both("omniglot conv")),
        545,
        515,
        GENERATIVE,
        REDUCED_GENERATIVE,
    ),
    Target(
        "Fashion-MNIST, nats",
        "test_nll",
        _published("test_nll", 1, *_both("fashion_mnist conv")),
        1690,
        1600,
        tuple(f"bruno_fashion_mnist{variant}" for variant in ("", ":student_t", ":fast", ":fast_student_t")),
        ("bruno_fashion_mnist:cpu", "bruno_fashion_mnist:cpu_student_t"),
    ),
    Target(
        "CIFAR-10, bits/dim",
        "test_bits_per_dim",
        _published("test_bits_per_dim", 3, *_both("cifar10 conv")),
        3.67,
        3.5,
        ("bruno_cifar10", "bruno_cifar10:student_t"),
        ("bruno_cifar10:cpu", "bruno_cifar10:cpu_student_t"),
    ),
    Target(
        "MNIST even to odd, nats",
        "test_nll",
        _published("test_nll", 1, *_both("mnist_even_odd conv")),
        585,
        550,
        tuple(f"bruno_mnist_even_odd{variant}" for variant in ("", ":student_t", ":fast", ":fast_student_t")),
        ("bruno_mnist_even_odd:cpu", "bruno_mnist_even_odd:cpu_student_t"),
    ),
    Target(
        "MNIST dense, Gaussian, nats",
        "test_nll",
        _published("test_nll", 1, "mnist dense gaussian"),
        860,
        783,
        ("bruno_mnist_dense", "bruno_mnist_dense:fast", "bruno_mnist_dense:cpu"),
    ),
    Target(
        "MNIST dense, Student-t, nats",
        "test_nll",
        _published("test_nll", 1, "mnist dense student_t"),
        850,
        783,
        tuple(f"bruno_mnist_dense:{recipe}student_t" for recipe in ("", "fast_", "cpu_")),
    ),
    Target(
        "MNIST dense even to odd, Gaussian, nats",
        "test_nll",
        _published("test_nll", 1, "mnist_even_odd dense gaussian"),
        1030,
        905,
        tuple(f"bruno_mnist_dense:{recipe}even_odd" for recipe in ("", "fast_", "cpu_")),
    ),
    Target(
        "MNIST dense even to odd, Student-t, nats",
        "test_nll",
        _published("test_nll", 1, "mnist_even_odd dense student_t"),
        945,
        905,
        tuple(f"bruno_mnist_dense:{recipe}even_odd_student_t" for recipe in ("", "fast_", "cpu_")),
    ),
    _few_shot("5way_1shot", 85.5, 90, GENERATIVE, REDUCED_GENERATIVE),
    _few_shot("5way_5shot", 95.5, 97, GENERATIVE, REDUCED_GENERATIVE),
    _few_shot("20way_1shot", 69, 78, GENERATIVE, REDUCED_GENERATIVE),
    _few_shot("20way_5shot", 87.5, 92, GENERATIVE, REDUCED_GENERATIVE),
    _few_shot("5way_1shot", 96.5, 98.5, FINE_TUNED, REDUCED_DISCRIMINATIVE),
    _few_shot("5way_5shot", 99.2, 99.7, FINE_TUNED, REDUCED_DISCRIMINATIVE),
    _few_shot("20way_1shot", 90.5, 95, FINE_TUNED, REDUCED_DISCRIMINATIVE),
    _few_shot("20way_5shot", 97.5, 99, FINE_TUNED, REDUCED_DISCRIMINATIVE),
)
