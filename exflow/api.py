"""The Python API: a trained model that scores, samples and classifies from small sets of uint8 images.

    import exflow

    model = exflow.load("runs/bruno_omniglot")
    state = model.init_state()
    for x in stream:                                # uint8 images of model.image_shape
        print(model.log_prob(state, x))             # nats, given all images before
        state = model.update(state, x)

A conditional model (`model.context_dim` > 0) also takes `context=`, what is known of every image, such as its view
angle as (sin, cos): `model.update(state, x, context=context)`, `model.sample(state, key, 3, context=wanted_contexts)`.

Every model answers the calls that it has the capability for; the others raise a UserError that says what it lacks.
Results are NumPy arrays; states are pytrees of small arrays that can be stored and updated any number of times;
they know their model, and another one refuses them.
"""

import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from exflow import loading
from exflow.errors import UserError
from exflow.evaluation import compiled
from exflow.evaluation.compiled import power_of_two, scatter
from exflow.image_model import Context, ImageModel, Images
from exflow.input_checks import KeyOrSeed, as_key, check_context, check_elements
from exflow.model import sets_of
from exflow.padding import PaddedSets, encode, padded
from exflow.set_state import ModelIdentity, SetState, content_of, identity
from exflow.typing import PRNGKey, State


def load(path_or_name: str | os.PathLike, checkpoint: str = "best") -> "TrainedModel":
    """Open a trained model.

    Args:
      path_or_name: Working directory of a training run, or the name of a model that comes with exflow.
      checkpoint: For a working directory: "best" on validation, as its evaluation uses, or "latest".

    Returns:
      The model.

    Raises:
      UserError: It does not exist or cannot be read; one line that says what to do.
    """
    return TrainedModel(*loading.find(path_or_name, checkpoint))


def _log_mean_exp(log_probs: Float[np.ndarray, "draws ..."]) -> Float[np.ndarray, "..."]:
    return np.logaddexp.reduce(log_probs, axis=0) - np.float32(math.log(len(log_probs)))


class TrainedModel(ImageModel):
    """A model with its parameters.

    Images are uint8 `[..., height, width, channels]` in the convention of the model's data set; `preprocess` brings raw
    pictures there. `key=None` fixes the dequantization noise at its mean, which makes every result a function of the
    images alone; a key, or an int as its seed, draws it, as in training and in the paper.

    `num_importance_samples` tightens densities that are lower bounds. Of a model with latents it is the number of their
    draws; None: `config.evaluation.importance_samples`. Of a model with exact densities it is the number of draws of
    the noise, for which it needs a key; None: 1. Densities are averaged over the draws, anomaly scores themselves.

    Attributes: see `ImageModel`.
    """

    @functools.cached_property
    def identity(self) -> ModelIdentity:
        """What its states carry: a digest of parameters and options."""
        return identity(self.core, self.params, self.config)

    def init_state(self) -> State:
        """State of the empty set."""
        return SetState(sets_of(self.core).init_state(self.params), self.identity)

    def update(self, state: State, x: Images, key: KeyOrSeed | None = None, context: Context = None) -> State:
        """Absorb one image [h, w, c] or many [num, h, w, c]; the order does not matter."""
        images = check_elements(self.core, x, "x", 3 if np.ndim(x) == 3 else 4)
        elements, mask = padded(self.core, self.params, images, as_key(key), context)
        content = content_of(state, self.identity)
        return self._compact(compiled.update(self.core, self.params, content, elements, mask))

    def remove(self, state: State, x: Images, key: KeyOrSeed | None = None, context: Context = None) -> State:
        """Forget one image [h, w, c] or many [num, h, w, c], the state being as if they had never been absorbed.

        Args:
          state: From `update`.
          x: Images that it has absorbed; of others the result means nothing.
          key: As in the `update` that absorbed them, together where it was a key: the same noise is taken away.
          context: Of the images, for a conditional model.
        """
        images = check_elements(self.core, x, "x", 3 if np.ndim(x) == 3 else 4)
        known, content = check_context(self.context_dim, context, images.shape[:-3]), content_of(state, self.identity)
        elements = encode(self.core, self.params, images.reshape(-1, *self.image_shape), as_key(key), known)
        for number in range(math.prod(images.shape[:-3])):
            element = jax.tree.map(lambda leaf, number=number: leaf[number], elements)
            content = compiled.remove(self.core, self.params, content, element)
        return self._compact(content)

    def merge(self, a: State, b: State) -> State:
        """State of the union of two disjoint sets."""
        contents = content_of(a, self.identity, "a"), content_of(b, self.identity, "b")
        return self._compact(compiled.merge(self.core, self.params, *contents))

    def log_prob(
        self,
        state: State,
        x_new: Images,
        key: KeyOrSeed | None = None,
        num_importance_samples: int | None = None,
        context: Context = None,
    ) -> Float[np.ndarray, "..."]:
        """Log p(x_new | absorbed images) in nats, of one image or of each of many on its own.

        Args:
          state: From `init_state` or `update`.
          x_new: Image [h, w, c] or images [num, h, w, c].
          key: Key of the noise; None fixes it at its mean.
          num_importance_samples: Draws over which densities are averaged. Of a model with exact densities this gives a
            lower bound on the log-probability of the discrete image that tightens with their number; of a model with
            latents it tightens each of the two bounds whose difference is returned.
          context: Of the images, for a conditional model.

        Returns:
          One number, or [num].

        Raises:
          ValueError: More than one importance sample without a key, of a model with exact densities.
        """
        x = check_elements(self.core, x_new, "x_new", 3 if np.ndim(x_new) == 3 else 4)
        content = content_of(state, self.identity)

        def one(key: PRNGKey | None, draws: int) -> np.ndarray:
            elements, mask = padded(self.core, self.params, x, key, context)
            found = compiled.log_prob(self.core, self.params, content, elements, draws)
            return np.asarray(found)[: mask.sum()]

        log_probs = self._over_draws(one, key, num_importance_samples)
        return np.asarray(log_probs[0]) if x.ndim == 3 else log_probs

    def sample(
        self,
        state: State | None,
        key: KeyOrSeed,
        num_samples: int,
        coherent: bool = False,
        context: Context = None,
    ) -> UInt8[np.ndarray, "num height width channels"] | Float[np.ndarray, "num 1 1 dim"]:
        """Images, or vectors, given the absorbed ones.

        Args:
          state: From `init_state` or `update`. None: images from what a model with a sampler was fitted to after
            training; of a model without one, those of the empty set.
          key: Random key, or a seed.
          num_samples: Number of images.
          coherent: Draw one set of the same unknown class; otherwise every image on its own.
          context: Of the samples, [num_samples, context_dim], for a conditional model.

        Returns:
          Images.

        Raises:
          UserError: The model has no samples of sets, or its sampler has not been fitted.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples: expected at least 1, got {num_samples}.")
        size, draw_key = power_of_two(num_samples), as_key(key)
        if state is None and self.core.sampler is not None:
            if self.fitted is None:
                raise UserError(f"{self.name}: its sampler has not been fitted. Use --mode=evaluate on its directory.")
            samples = compiled.sample_fitted(self.core, self.params, self.fitted, draw_key, size)
            return np.asarray(samples)[:num_samples]
        content = content_of(self.init_state() if state is None else state, self.identity)
        known = check_context(self.context_dim, context, (num_samples,))
        if known is not None:
            known = known[np.minimum(np.arange(size), num_samples - 1)]
        samples = compiled.sample(self.core, self.params, content, draw_key, size, coherent, known)
        return np.asarray(samples)[:num_samples]

    def classify(
        self,
        support: Images | Sequence[Images],
        query: Images,
        key: KeyOrSeed | None = None,
        log_prior: Float[Any, " n_way"] | None = None,
        support_context: Context | Sequence[Context] = None,
        query_context: Context = None,
        num_importance_samples: int | None = None,
    ) -> Float[np.ndarray, "num_query n_way"]:
        """Log p(class | query), each class being described by a few images.

        Args:
          support: Images [n_way, k_shot, h, w, c], or a list of [k, h, w, c] with different numbers k.
          query: Images [num_query, h, w, c].
          key: Key of the noise; None fixes it at its mean.
          log_prior: Log probability of each class, up to a constant; None for equal ones.
          support_context: Of the support images, for a conditional model: [n_way, k_shot, context_dim] or a list.
          query_context: Of the queries, [num_query, context_dim].
          num_importance_samples: Draws over which densities are averaged.

        Returns:
          Log probabilities; every row sums to one after exponentiation.
        """
        classes = [check_elements(self.core, x, "support", 4) for x in support]
        if not classes:
            raise ValueError("support: expected at least one class, got none.")
        query = check_elements(self.core, query, "query", 4)
        shots = [len(x) for x in classes]
        mask = np.zeros((power_of_two(len(classes)), power_of_two(max(shots))), bool)
        for label, shot in enumerate(shots):
            mask[label, :shot] = True
        known = None if support_context is None else np.concatenate([np.asarray(part) for part in support_context])
        known = check_context(self.context_dim, known, (sum(shots),), "support_context")

        def one(key: PRNGKey | None, draws: int) -> np.ndarray:
            elements = scatter(encode(self.core, self.params, np.concatenate(classes), key, known), mask)
            query_key = None if key is None else jax.random.fold_in(key, 1)
            queries, _ = padded(self.core, self.params, query, query_key, query_context, "query_context")
            return np.asarray(compiled.class_log_probs(self.core, self.params, elements, mask, queries, draws))

        scores = self._over_draws(one, key, num_importance_samples)[: len(query), : len(classes)].astype(np.float64)
        if log_prior is not None:
            prior = np.asarray(log_prior, np.float64)
            if prior.shape != (len(classes),):
                raise ValueError(f"log_prior: expected [{len(classes)}], got {prior.shape}. Give one number per class.")
            scores = scores + prior[None]
        return scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)

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

    def _compact(self, content: State) -> SetState:
        compact = sets_of(self.core).compact
        return SetState(content if compact is None else compact(content), self.identity)

    def _of_sets(
        self, function: Callable[..., Any], x_set: Any, mask: Any, context: Context
    ) -> Callable[[PRNGKey | None, int], np.ndarray]:
        """(key of the noise, draws of latents) -> what a function of padded sets says of every element."""
        sets = PaddedSets(self.core, x_set, mask, context)

        def one(key: PRNGKey | None, draws: int) -> np.ndarray:
            return sets.unpadded(function(self.core, self.params, sets.elements(self.params, key), sets.mask, draws))

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
