"""What the columns of the benchmarks mean: what a ratio above 1 says, and which direction is the better one."""

import re
from typing import NamedTuple

from benchmarks.lines import Line
from benchmarks.measured import spread_of


class Meaning(NamedTuple):
    """Of a column of ratios."""

    above_one: str  # what is so where the ratio is above 1
    better: int = 0  # 1: a larger ratio is better, -1: a smaller one, 0: two forms of exflow, of which either may be


OTHERS = {  # sides of bench_reference
    "reference": "PyTorch",
    "compiled": "PyTorch, compiled",
    "original": "the original",
    "ynn": "exflow, convolutions as XLA chooses",
}
SMALLEST = "than in the smallest sets"
RATIOS = {  # (benchmark, column)
    ("aggregation", "time x smallest set"): Meaning(f"more time per element {SMALLEST}", -1),
    ("aggregation", "bytes x smallest set"): Meaning(f"more memory per element {SMALLEST}", -1),
    ("aggregation", "explicit / attention"): Meaning("faster than with keys and values of every element", 1),
    ("api", "call over programs"): Meaning("the call takes longer than the programs that it runs", -1),
    ("compile", "unroll / scan"): Meaning("scanned blocks compile faster"),
    ("convolution", "plain / matmul"): Meaning("matrix products are faster than XLA's gradients"),
    ("convolution", "plain / forward"): Meaning("gradients written as forward convolutions are faster than XLA's"),
    ("convolution", "auto / fastest"): Meaning("another gradient of the kernel is faster than that of the rule", -1),
    ("convolution", "auto / measured"): Meaning("a measurement would take another one than the rule", -1),
    ("few_shot", "speed-up"): Meaning("cached latents are faster than a pass per episode", 1),
    ("few_shot", "fewer passes"): Meaning("cached latents need fewer passes", 1),
    ("memory", "planned, plain / remat"): Meaning("rematerialisation needs less memory, as XLA plans it"),
    ("memory", "peak, plain / remat"): Meaning("rematerialisation needs less memory at the peak"),
    ("memory", "seconds, plain / remat"): Meaning("rematerialisation is faster"),
    ("pipeline", "device / tfdata"): Meaning("device delivers more images/s than tfdata"),
    ("process", "scan / parallel"): Meaning("prefix sums are faster than the recurrence"),
    ("process", "dense / parallel"): Meaning("prefix sums are faster than the covariance matrix", 1),
    ("scale", "all-reduce / gradient"): Meaning("devices exchange more than the gradient", -1),
    ("set_vae", "training time / VAE"): Meaning("takes longer in training than the plain VAE"),
    ("set_vae", "bound time / VAE"): Meaning("takes longer for the bound than the plain VAE"),
    ("set_vae", "unroll / scan"): Meaning("scanned levels compile faster"),
    ("stream", "growth / growth of the data"): Meaning("memory grows faster than the data", -1),
    ("train_step", "exflow / plain"): Meaning("exflow is faster than the model written plainly", 1),
}
AGAINST_EXFLOW = re.compile(r"(?P<side>.+) / exflow(?P<cpu>, CPU)?")
BETTER = {"/s": 1} | dict.fromkeys((" s", " ms", " us", "seconds", "per element", "MB", "GB", "passes"), -1)  # ends
COMPARED_WITH = {"few_shot": "per episode ", "process": "dense ", "train_step": "plain "}  # columns not exflow's own


def title(side: str) -> str:
    """What a side of bench_reference is called."""
    return OTHERS.get(side, side)


def meaning(benchmark: str, column: str) -> Meaning:
    """Of a ratio; one without a line in `RATIOS` has no direction."""
    against = AGAINST_EXFLOW.fullmatch(column)
    if against:
        verb = "needs less CPU time" if against["cpu"] else "is faster"
        return Meaning(f"exflow {verb} than {title(against['side'])}", 1)
    return RATIOS.get((benchmark, column), Meaning(""))


def better_median(benchmark: str, row: str, column: str) -> int:
    """The better direction of a median as in `Meaning.better`; 0 also for what exflow is only compared with."""
    if benchmark == "reference":
        own = column.startswith("exflow ")
    else:
        own = not column.startswith(COMPARED_WITH.get(benchmark, ())) and not row.startswith("attention, explicit")
    return next((better for end, better in BETTER.items() if f" {column}".endswith(end)), 0) if own else 0


def of_itself(value: float) -> bool:
    """Whether a ratio is that of a thing to itself, which tells nothing."""
    return value == 1 and spread_of(value) in (None, (1, 1))


def behind(line: Line) -> dict[tuple[str, str], float]:
    """Ratios, by row and column, in which exflow is behind what it is compared with."""
    return {
        (row, column): value
        for row, cells in line.ratios.items()
        for column, value in cells.items()
        if meaning(line.benchmark, column).better == 1 and value < 1
    }
