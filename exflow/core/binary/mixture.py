"""Mixtures of product Bernoullis: p(x) = sum_k w_k prod_i p_ki^x_i (1 - p_ki)^(1 - x_i), fitted by EM.

Parameters are those of the largest posterior density under a prior that adds one success and one failure to every
probability, and one code to every weight, so that no probability is 0 and no log probability infinite.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64
from scipy.special import logit

from exflow.core.binary.chunks import chunks, of_chunks
from exflow.core.binary.model import BinaryModel, Codes
from exflow.core.binary.moments import BinaryMoments
from exflow.typing import PRNGKey

PSEUDO_COUNT = 1.0
NUM_RESTARTS, SHORT_STEPS, MAX_STEPS = 4, 20, 500  # runs of so many steps, of which the best goes on
TOLERANCE = 1e-5  # nats per code that a step must gain


class BernoulliMixture(NamedTuple):
    """Parameters of the components."""

    weight: Float[np.ndarray, " component"]
    probability: Float[np.ndarray, "component bits"]


def bernoulli_mixture(num_components: int) -> BinaryModel:
    """The model as functions."""

    def shapes(num_bits: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (num_components,), "probability": (num_components, num_bits)}

    def fit(codes: Codes, seed: int = 0) -> BernoulliMixture:
        rng = np.random.default_rng(seed)
        starts = [_start(codes, num_components, rng) for _ in range(NUM_RESTARTS)]
        runs = [expectation_maximization(codes, start, SHORT_STEPS) for start in starts]
        best, _ = max(runs, key=lambda run: run[1][-1])
        return expectation_maximization(codes, best, MAX_STEPS)[0]

    return BinaryModel(
        "mixture",
        BernoulliMixture,
        shapes,
        fit,
        sample,
        complete,
        log_prob=log_prob,
        expected_moments=expected_moments,
    )


def expectation_maximization(
    codes: Codes, start: BernoulliMixture, max_steps: int
) -> tuple[BernoulliMixture, list[float]]:
    """EM until a step gains less than `TOLERANCE`.

    Args:
      codes: At least one.
      start: Probabilities inside (0, 1).
      max_steps: At least 1.

    Returns:
      The mixture, and ln p(codes) + ln p(parameters), up to a constant, before every step; it never falls.
    """
    mixture, history = start, []
    for _ in range(max_steps):
        members, ones, total = np.zeros(len(mixture.weight)), np.zeros(mixture.probability.shape), _log_prior(mixture)
        for rows in chunks(codes):
            joint = _joint_log_probs(mixture, rows)
            log_probs = np.logaddexp.reduce(joint, axis=-1)
            responsibility = np.exp(joint - log_probs[:, np.newaxis])
            total += log_probs.sum()
            members += responsibility.sum(axis=0)
            ones += responsibility.T @ rows.astype(np.float64)
        history.append(float(total))
        if len(history) > 1 and history[-1] - history[-2] < TOLERANCE * len(codes):
            break
        weight = (members + PSEUDO_COUNT) / (len(codes) + PSEUDO_COUNT * len(members))
        probability = (ones + PSEUDO_COUNT) / (members[:, np.newaxis] + 2.0 * PSEUDO_COUNT)
        mixture = BernoulliMixture(weight, probability)
    return mixture, history


def sample(fitted: BernoulliMixture, key: PRNGKey, num: int) -> Bool[Array, "num bits"]:
    """Independent draws."""
    component_key, bits_key = jax.random.split(key)
    weight, probability = (jnp.asarray(array) for array in fitted)
    component = jax.random.categorical(component_key, jnp.log(weight), shape=(num,))
    return jax.random.bernoulli(bits_key, probability[component])


def log_prob(fitted: BernoulliMixture, codes: Codes) -> Float64[np.ndarray, " num"]:
    """Log p(x), nats."""
    return of_chunks(lambda rows: np.logaddexp.reduce(_joint_log_probs(fitted, rows), axis=-1), codes)


def complete(
    fitted: BernoulliMixture, codes: Codes, known: Bool[np.ndarray, " bits"], seed: int, num_sweeps: int = 60
) -> Codes:
    """Exact: the component given the known bits, then the others given the component."""
    del num_sweeps
    rng = np.random.default_rng(seed)
    joint = _joint_log_probs(fitted._replace(probability=fitted.probability[:, known]), codes[:, known])
    component = np.argmax(joint + rng.gumbel(size=joint.shape), axis=-1)
    return np.where(known, codes, rng.random(codes.shape) < fitted.probability[component])


def expected_moments(fitted: BernoulliMixture) -> BinaryMoments:
    """Means of the moments of the components."""
    weight, means = np.asarray(fitted.weight, np.float64), 2.0 * np.asarray(fitted.probability, np.float64) - 1.0
    second = (means.T * weight) @ means
    np.fill_diagonal(second, 1.0)
    return BinaryMoments(weight @ means, second)


def bayesian_information_criterion(fitted: BernoulliMixture, codes: Codes) -> float:
    """-2 ln p(codes) + (number of parameters) ln(number of codes); lower is better."""
    num_parameters = fitted.probability.size + len(fitted.weight) - 1
    return float(-2.0 * log_prob(fitted, codes).sum() + num_parameters * math.log(len(codes)))


def _joint_log_probs(mixture: BernoulliMixture, codes: Codes) -> Float64[np.ndarray, "num component"]:
    """Log w_k p(x | k)."""
    probability = np.asarray(mixture.probability, np.float64)
    constant = np.log(np.asarray(mixture.weight, np.float64)) + np.log1p(-probability).sum(axis=-1)
    return codes.astype(np.float64) @ logit(probability).T + constant


def _log_prior(mixture: BernoulliMixture) -> float:
    """Log density of Dirichlet and Beta priors, of which PSEUDO_COUNT more observations are the modes' shift."""
    probability = mixture.probability
    return PSEUDO_COUNT * float((np.log(probability) + np.log1p(-probability)).sum() + np.log(mixture.weight).sum())


def _start(codes: Codes, num_components: int, rng: np.random.Generator) -> BernoulliMixture:
    """Components half way between a random code each and the mean of all."""
    centers = codes[rng.choice(len(codes), num_components, replace=len(codes) < num_components)]
    mean = (codes.sum(axis=0) + PSEUDO_COUNT) / (len(codes) + 2.0 * PSEUDO_COUNT)
    return BernoulliMixture(np.full(num_components, 1.0 / num_components), (centers + mean) / 2.0)
