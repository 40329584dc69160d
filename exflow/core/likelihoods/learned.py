"""Observation models with parameters of their own: learned ones, and statistics of the training images.

A family that builds its law from these serves every name, those without parameters included.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from exflow.core.bijectors import whitening
from exflow.core.likelihoods.likelihood import LIKELIHOODS, Likelihood, likelihood
from exflow.core.likelihoods.whitened_gaussian import INITIAL_LOG_VARIANCE, whitened_gaussian
from exflow.errors import UserError
from exflow.typing import Params, PRNGKey

ImageShape = tuple[int, int, int]


class LearnedLikelihood(NamedTuple):
    """A law once its parameters are known. Keep the learned ones in an optimiser group, the others in "statistics"."""

    name: str
    discrete: bool  # this and the next as of `Likelihood`
    num_outputs: Callable[[int], int]
    # (key, image shape) -> learned parameters, and places for statistics
    init: Callable[[PRNGKey, ImageShape], tuple[dict[str, Any], dict[str, Any]]]
    law: Callable[[Params, Params], Likelihood]  # (learned, statistics) -> the law
    # Statistics of the training images, some of them at a time; for `Model.fit_images`. None: there are none
    fit: Callable[[Iterable[UInt8[np.ndarray, "..."]]], dict[str, Any]] | None = None
    plain: Likelihood | None = None  # the law itself, where it has no parameters

    @property
    def bare(self) -> Likelihood:
        """The law where it has no parameters, else one that tells its name and kind and refuses all else."""
        if self.plain is not None:
            return self.plain

        def refuse(*arguments: Any) -> Any:
            raise ValueError(f"likelihood: {self.name} has parameters. Use the one of `LatentFunctions.likelihood_of`.")

        return Likelihood(self.name, self.num_outputs, *(refuse,) * 5, discrete=self.discrete)


def learned_likelihood(name: str) -> LearnedLikelihood:
    """The entry of `LEARNED`, or that of `LIKELIHOODS` as a law that has no parameters.

    Raises:
      UserError: There is none of that name; names the valid ones.
    """
    if name in LEARNED:
        return LEARNED[name]
    if name not in LIKELIHOODS:
        known = ", ".join([*LIKELIHOODS, *LEARNED])
        raise UserError(f"likelihood: expected one of {known}, got {name!r}. Choose one of them.")
    law = likelihood(name)
    return LearnedLikelihood(
        name, law.discrete, law.num_outputs, lambda key, shape: ({}, {}), lambda learned, statistics: law, plain=law
    )


def _whitened_init(key: PRNGKey, shape: ImageShape) -> tuple[dict[str, Any], dict[str, Any]]:
    del key
    learned = {"log_variance": jnp.full((), INITIAL_LOG_VARIANCE)}
    return learned, {"whitening": whitening.identity(math.prod(shape))}


LEARNED = {
    "whitened_gaussian": LearnedLikelihood(
        name="whitened_gaussian",
        discrete=False,
        num_outputs=lambda channels: channels,
        init=_whitened_init,
        law=lambda learned, statistics: whitened_gaussian(statistics["whitening"], learned["log_variance"]),
        fit=lambda images: {"whitening": whitening.fit_whitening(images)},
    )
}
