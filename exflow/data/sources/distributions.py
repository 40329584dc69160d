"""Sets of numbers from random distributions: the synthetic experiment of the Neural Statistician.

Every set has its own law: a family, a mean m ~ U(-1, 1) and a variance parameter v ~ U(0.5, 2). What v means depends on
the family. In the order (location, spread) of the labels that a set carries:

| family | law of an element | labels |
|---|---|---|
| gaussian | N(m, v^2): v is the standard deviation | m, v |
| laplace | Laplace(m, scale v) | m, v |
| uniform, exponential, reversed_exponential | mean m and variance v | m, v |
| mixture | half N(1 + abs(m), (v / 2)^2), half N(-1 - abs(m), (v / 2)^2) | 1 + abs(m), v / 2 |

Sets of the third row are standardised with their own empirical mean and standard deviation before they are moved to m
and v, so that these are the exact moments of the set.
"""

import numpy as np
from jaxtyping import Float, Float32

from exflow.data.building.options import check_at_least, check_choice
from exflow.data.building.vectors import label_vectors
from exflow.data.registry import LabelledImages, register

FAMILIES = {
    "easy": ("gaussian", "uniform", "laplace", "exponential"),
    "hard": ("mixture", "laplace", "exponential", "reversed_exponential"),
}
STANDARDISED = ("uniform", "exponential", "reversed_exponential")

# What a bound on log p(set) / set_size can reach, in nats per element, for sets of 200:
# oracle: the mean log density of the true law of each set, that is minus the mean entropy of the laws;
# gaussian: that of the normal distribution with the moments of each set; pooled: that of the mixture of all laws.
REFERENCE = {
    "easy": {"oracle": -1.455, "gaussian": -1.619, "pooled": -1.778},
    "hard": {"oracle": -1.380, "gaussian": -1.700, "pooled": -1.822},
}

Numbers = Float[np.ndarray, "..."] | float


def _normal(x: Numbers, mean: Numbers, deviation: Numbers) -> Numbers:
    return -0.5 * np.square((x - mean) / deviation) - np.log(deviation) - 0.5 * np.log(2 * np.pi)


def log_density(family: str, x: Numbers, location: Numbers, spread: Numbers) -> Numbers:
    """Log density of a law at x, in nats; minus infinity outside its support.

    A standardised set is not quite a sample of its law (its moments are exact), and some of its elements can lie
    outside the support: average this over fresh draws of the law, not over such sets.

    Args:
      family: A name of `FAMILIES`.
      x: Any shape that fits the labels.
      location: First label of the set, m or 1 + abs(m).
      spread: Second label of the set, v or v / 2.
    """
    if family == "gaussian":
        return _normal(x, location, spread)
    if family == "mixture":
        return np.logaddexp(_normal(x, location, spread), _normal(x, -location, spread)) - np.log(2)
    if family == "laplace":
        return -np.abs(x - location) / spread - np.log(2 * spread)
    deviation = np.sqrt(spread)
    standard = (x - location) / deviation
    if family == "uniform":
        return np.where(np.abs(standard) <= np.sqrt(3), -0.5 * np.log(12), -np.inf) - np.log(deviation)
    standard = -standard if family == "reversed_exponential" else standard
    return np.where(standard >= -1, -1 - standard, -np.inf) - np.log(deviation)


def draw(
    rng: np.random.Generator,
    family: str,
    location: Float[np.ndarray, " num_sets"],
    spread: Float[np.ndarray, " num_sets"],
    set_size: int,
    standardise: bool = True,
) -> Float[np.ndarray, "num_sets set_size"]:
    """Draw sets of one family.

    Args:
      rng: Of all draws.
      family: A name of `FAMILIES`.
      location: First label of each set, m or 1 + abs(m).
      spread: Second label of each set, v or v / 2.
      set_size: Elements of a set.
      standardise: Whether sets of `STANDARDISED` families get exactly the moments (m, v), as in the experiment; else
        all elements are independent draws of the law.
    """
    shape = len(location), set_size
    location, spread = location[:, None], spread[:, None]
    if family == "gaussian":
        return rng.normal(location, spread, shape)
    if family == "mixture":
        return rng.choice([-1.0, 1.0], shape) * location + spread * rng.normal(size=shape)
    if family == "laplace":
        return rng.laplace(location, spread, shape)
    x = np.sqrt(3) * rng.uniform(-1, 1, shape) if family == "uniform" else rng.exponential(size=shape) - 1
    x = -x if family == "reversed_exponential" else x
    if standardise:
        x = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    return location + np.sqrt(spread) * x


def draw_sets(
    rng: np.random.Generator, kind: str, num_sets: int, set_size: int
) -> tuple[Float32[np.ndarray, "num_sets set_size 1"], Float32[np.ndarray, "num_sets 3"]]:
    """Sets of random families and their labels: number of the family in `FAMILIES[kind]`, location and spread."""
    family = rng.integers(len(FAMILIES[kind]), size=num_sets)
    location, spread = rng.uniform(-1, 1, num_sets), rng.uniform(0.5, 2, num_sets)
    x = np.empty((num_sets, set_size))
    for number, name in enumerate(FAMILIES[kind]):
        rows = family == number
        if name == "mixture":
            location[rows], spread[rows] = 1 + np.abs(location[rows]), spread[rows] / 2
        x[rows] = draw(rng, name, location[rows], spread[rows], set_size)
    labels = np.stack([family, location, spread], axis=1)
    return x[..., None].astype(np.float32), labels.astype(np.float32)


@register("distributions_1d", cache=False)
def distributions_1d(
    kind: str = "easy",
    num_train: int = 10_000,
    num_validation: int = 500,
    num_test: int = 1_000,
    set_size: int = 200,
    seed: int = 0,
) -> LabelledImages:
    """Sets of numbers from random one-dimensional distributions; every set is a class, every element a vector of 1.

    The context of an element is (number of the family, location, spread) of its set: labels for probes and figures.
    A set is a function of the seed, its split, and the options.

    Args:
      kind: "easy" (gaussian, uniform, laplace, exponential) or "hard" (mixture of two modes, laplace, exponential,
        reversed exponential).
      num_train: Sets for training.
      num_validation: Sets for validation.
      num_test: Sets for test.
      set_size: Numbers in a set, at least 2.
      seed: Of all draws, at least 0.

    Raises:
      UserError: If an option is not valid.

    Source: Edwards and Storkey 2017, "Towards a neural statistician", arXiv:1606.02185.
    """
    name = "distributions_1d"
    check_choice(name, "kind", kind, tuple(FAMILIES))
    check_at_least(name, 1, num_train=num_train, num_validation=num_validation, num_test=num_test)
    check_at_least(name, 2, set_size=set_size)
    check_at_least(name, 0, seed=seed)
    sizes = num_train, num_validation, num_test
    return label_vectors(
        [draw_sets(np.random.default_rng([seed, part]), kind, size, set_size) for part, size in enumerate(sizes)]
    )
