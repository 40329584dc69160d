"""What a trained model says of whole sets of images: densities and scores of their elements."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from exflow.code_edits import CodeEdits
from exflow.evaluation import compiled
from exflow.image_model import Context, Images
from exflow.input_checks import KeyOrSeed, as_key
from exflow.model import sets_of
from exflow.padding import PaddedSets
from exflow.typing import PRNGKey


def _log_mean_exp(log_probs: Float[np.ndarray, "draws ..."]) -> Float[np.ndarray, "..."]:
    return np.logaddexp.reduce(log_probs, axis=0) - np.float32(math.log(len(log_probs)))


class SetScores(CodeEdits):
    """A model with its parameters, as far as sets are given at once and not one element after the other.

    Attributes: see `ImageModel`.
    """

    def conditional_log_probs(
        self,
        x_set: Images,
        mask: Any = None,
        key: KeyOrSeed | None = None,
        context: Context = None,
        num_importance_samples: int | None = None,
    ) -> Float[np.ndarray, "..."]:
        """Log p(x_n | x_<n) of every element of sets [..., set, h, w, c], in nats; 0 where `mask` is False."""
        one = self._of_sets(compiled.conditional, x_set, mask, context)
        return self._over_draws(one, key, num_importance_samples)

    def set_log_prob(
        self,
        x_set: Images,
        mask: Any = None,
        key: KeyOrSeed | None = None,
        context: Context = None,
        num_importance_samples: int | None = None,
    ) -> Float[np.ndarray, "..."]:
        """Log p(x_1, ..., x_n) in nats, which does not depend on the order.

        Args:
          x_set: Sets of images [..., set, h, w, c].
          mask: [..., set], False where a ragged set has no element; None if all exist.
          key: Key of the noise; None fixes it at its mean.
          context: Of the images, [..., set, context_dim], for a conditional model.
          num_importance_samples: Draws over which densities are averaged.

        Returns:
          One number per set, [...].
        """
        function = compiled.conditional if sets_of(self.core).exact else compiled.joint_shares
        one = self._of_sets(function, x_set, mask, context)

        def joint(key: PRNGKey | None, draws: int) -> np.ndarray:
            return np.asarray(one(key, draws).sum(axis=-1))

        return self._over_draws(joint, key, num_importance_samples)

    def anomaly_scores(
        self,
        x_set: Images,
        mask: Any = None,
        key: KeyOrSeed | None = None,
        leave_one_out: bool = False,
        context: Context = None,
        num_importance_samples: int | None = None,
    ) -> Float[np.ndarray, "..."]:
        """How much better each image fits its set than it fits alone; LOW scores are anomalies.

        Args:
          x_set: Sets of images [..., set, h, w, c], in streaming order.
          mask: [..., set], False where a ragged set has no element; None if all exist.
          key: Key of the noise; None fixes it at its mean.
          leave_one_out: Score each image given all others, and not given the ones before it.
          context: Of the images, [..., set, context_dim], for a conditional model.
          num_importance_samples: Draws over which densities of a model with latents, or scores, are averaged.

        Returns:
          log p(x_n | x_<n) - log p(x_n) (or given all others), nats, [..., set]; 0 where `mask` is False.
        """
        function = compiled.leave_one_out_gain if leave_one_out else compiled.conditional_gain
        one = self._of_sets(function, x_set, mask, context)
        return self._over_draws(one, key, num_importance_samples, lambda scores: scores.mean(axis=0))

    def _of_sets(
        self, function: Callable[..., Any], x_set: Any, mask: Any, context: Context
    ) -> Callable[[PRNGKey | None, int], np.ndarray]:
        """(key of the noise, draws of latents) -> what a compiled function says of every element of the sets."""
        sets = PaddedSets(self.core, x_set, mask, context)

        def one(key: PRNGKey | None, draws: int) -> np.ndarray:
            return sets.map(
                functools.partial(function, self.core, self.folded_params, draws=draws), self.folded_params, key
            )

        return one

    def _over_draws(
        self,
        one: Callable[[PRNGKey | None, int], np.ndarray],
        key: KeyOrSeed | None,
        number: int | None,
        average: Callable[[np.ndarray], np.ndarray] = _log_mean_exp,
    ) -> np.ndarray:
        """Densities `one(key, draws of latents)`, averaged over draws of the noise where they are exact."""
        key, exact = as_key(key), sets_of(self.core).exact
        if number is None:
            number = 1 if exact or self.config is None else int(self.config.evaluation.importance_samples)
        if number < 1 or (number > 1 and key is None and exact):
            raise ValueError(f"num_importance_samples: expected 1, or more with a key, got {number}.")
        if not exact or number == 1 or key is None:
            return one(key, number)
        return average(np.stack([one(jax.random.fold_in(key, draw), 1) for draw in range(number)]))
