"""What the README says of each benchmark within exflow: one row each, from a line of its file."""

from collections.abc import Callable

from benchmarks.lines import Line
from benchmarks.measured import spread_of
from benchmarks.numbers import number, with_spread

Told = Callable[[Line], str]


def speed(value: float) -> str:
    """A ratio of times in words, with its range."""
    spread = spread_of(value)
    if value < 1:
        return f"{with_spread(1 / value)} times slower"
    return f"{number(value)}{f' ({number(spread[0])} to {number(spread[1])})' if spread else ''} times faster"


def row_of(line: Line, start: str) -> dict[str, float]:
    """Ratios of the row whose name begins so.

    Raises:
      KeyError: There is none.
    """
    name = next((name for name in line.ratios if name.startswith(start)), start)
    return line.ratios[name]


def few_shot(line: Line) -> str:
    """The whole protocol."""
    ratios, seconds = line.ratios["whole protocol"], line.medians["whole protocol"]["cached s"]
    faster, fewer = speed(ratios["speed-up"]), number(ratios["fewer passes"])
    return f"{number(seconds)} s: {faster} than one forward pass per episode, {fewer} times fewer image passes"


def dense(line: Line) -> str:
    """Prefix sums against the matrix, 1,000 elements."""
    forward, gradient = (
        line.ratios[f"gaussian, 1,000 elements, {derivative}"]["dense / parallel"]
        for derivative in ("forward", "gradient")
    )
    return f"{speed(forward)}, gradient {speed(gradient)}"


def recurrence(line: Line) -> str:
    """The recurrence against prefix sums, by size."""
    forward, gradient = (
        ", ".join(
            with_spread(line.ratios[f"gaussian, {size} elements, {derivative}"]["scan / parallel"])
            for size in ("20", "1,000", "10,000")
        )
        for derivative in ("forward", "gradient")
    )
    return f"{forward} times as long, gradient {gradient}"


def train_step(line: Line) -> str:
    """exflow's step against the plain one."""
    full, small = (with_spread(row_of(line, name)["exflow / plain"]) for name in ("full", "small"))
    return f"{full} times the images/s for the published model, {small} times for `:cpu`"


def compilation(line: Line) -> str:
    """Unrolled blocks."""
    return f"{with_spread(line.ratios['unroll']['unroll / scan'])} times as long"


def memory(line: Line) -> str:
    """Rematerialisation."""
    ratios = line.ratios["scan, remat"]
    peak, seconds = (with_spread(ratios[f"{what}, plain / remat"]) for what in ("peak", "seconds"))
    return f"{peak} times, for {seconds} of the time"


def attention(column: str, start: str, end: str) -> Told:
    """A ratio of attention over sets of 10,000, forward and gradient."""

    def told(line: Line) -> str:
        forward, gradient = (
            with_spread(line.ratios[f"{start}, {derivative}, 10,000 elements"][column])
            for derivative in ("forward", "gradient")
        )
        return f"{forward}{end}, gradient {gradient}"

    return told


def pipeline(line: Line) -> str:
    """Images per second of the pipelines alone."""
    found = line.medians["32 sets of 20"]
    images = " and ".join(number(found[f"{name} images/s"]) for name in ("device", "tfdata"))
    return f"{images}, {with_spread(line.ratios['32 sets of 20']['device / tfdata'])} times as many"


def set_vae_compilation(line: Line) -> str:
    """SCHA-VAE at 18 levels."""
    seconds, ratio = line.medians["compiling scha, scan"]["both s"], line.ratios["compiling scha, unroll"]
    return f"{number(seconds)} s, unrolled {with_spread(ratio['unroll / scan'])} times as long"


def growth(small: str, large: str) -> Told:
    """Time per number of a large set or dimension against that of a small one, of the Gaussian process."""

    def told(line: Line) -> str:
        parts = []
        for form in ("prefix sums", "recurrence", "streamed"):
            least, most = (line.medians[f"gaussian, {size}, {form}"]["ns"] for size in (small, large))
            parts.append(f"{form} {with_spread(most / least)}")
        return ", ".join(parts)

    return told


def classification(line: Line) -> str:
    """The largest case."""
    found = line.medians["1,000-way 50-shot, 1,000 queries"]
    seconds, peak, images = (number(found[column]) for column in ("CPU s", "peak MB", "support MB"))
    return f"{seconds} s of CPU time, {peak} MB more at the peak (the images: {images} MB)"


def first_answer(line: Line) -> str:
    """With and without compiled programs on disk."""
    found = line.medians["first answer"]
    cold, cpu, cached = (number(found[column] / 1e3) for column in ("cold ms", "cold CPU ms", "cached ms"))
    return f"{cold} s, {cpu} s of CPU time; then {cached} s"


def calls(line: Line) -> str:
    """Of the Python API, one after the other."""
    small = {
        "an update": "update, 1 image",
        "the densities of 6": "log_prob, 6 images",
        "anomaly scores of 6": "anomaly_scores, 6 images",
        "classification of 5 among 5 classes of 5": "classify, 5 classes of 5, 5 queries",
    }
    large = {"10,000 densities": "log_prob, 10,000 images", "10,000 samples": "sample, 10,000 images"}
    parts = [f"{what} {number(line.medians[row]['call ms'])} ms" for what, row in small.items()]
    return ", ".join(
        [*parts, *(f"{what} {number(line.medians[row]['call ms'] / 1e3)} s" for what, row in large.items())]
    )


def stream(line: Line) -> str:
    """Memory by the size of the file."""
    mapped, read = (
        number(line.ratios[f"32 sets of 20, {kind}, 1024 MB"]["growth / growth of the data"])
        for kind in ("mapped", "in memory")
    )
    return f"{mapped} MB, read into memory {read} MB"


ROWS: tuple[tuple[str, str, Told], ...] = (  # benchmark, what, measured
    ("few_shot", "complete few-shot protocol from cached latents, encoding included", few_shot),
    ("process", "density of a set of 1,000 by prefix sums against the covariance matrix, per dimension", dense),
    (
        "process",
        "the recurrence against prefix sums, 20, 1,000 and 10,000 elements (`log_prob` chooses by device)",
        recurrence,
    ),
    (
        "growth",
        "time per element of a set of a million against one of a thousand (linear: 1)",
        growth("1,000 x 8", "1,000,000 x 8"),
    ),
    (
        "growth",
        "time per dimension of 100,000 against 1,000, sets of 20 (linear: 1)",
        growth("20 x 1,000", "20 x 100,000"),
    ),
    ("classify", "classification of 1,000 images among 1,000 classes of 50, encoding included", classification),
    ("stream", "memory of the pipeline `tfdata` for every further MB of a file of images that is mapped", stream),
    (
        "api",
        "first answer of the Python API in a process, `exflow.load` and one update; then in the next process",
        first_answer,
    ),
    ("api", "calls of the bundled model of 14x14 pixels", calls),
    ("memory", "peak memory without against with rematerialisation, scanned blocks", memory),
    (
        "aggregation",
        "attention over a set of 10,000, memory per element against sets of 10 (linear: 1)",
        attention("bytes x smallest set", "attention", ""),
    ),
    (
        "aggregation",
        "the same attention with keys and values of every element, as in the paper",
        attention("explicit / attention", "attention, explicit", " times as long"),
    ),
    ("compile", "compilation of the full training step, unrolled against scanned blocks", compilation),
    ("set_vae", "compilation of SCHA-VAE, 18 levels and 54 blocks of width 32, scanned", set_vae_compilation),
    (
        "train_step",
        "training step against the same model written plainly (one device, no donation, XLA's own convolutions)",
        train_step,
    ),
    ("pipeline", "images/s of the pipelines `device` and `tfdata` alone, 32 sets of 20 of 28x28", pipeline),
)
