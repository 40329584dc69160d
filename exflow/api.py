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
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from exflow import loading, warmup
from exflow.compilation_cache import enable_compilation_cache
from exflow.errors import UserError
from exflow.evaluation import compiled, placement
from exflow.evaluation.code_passes import sample_fitted
from exflow.evaluation.compiled import power_of_two, scatter
from exflow.image_model import Context, Images
from exflow.input_checks import KeyOrSeed, as_key, check_context, check_elements
from exflow.model import sets_of
from exflow.padding import encode, encode_both, encoded, in_calls, joined, padded
from exflow.set_scores import SetScores
from exflow.set_state import ModelIdentity, SetState, content_of, identity
from exflow.typing import PRNGKey, State
from exflow.xla_flags import leave_convolutions_to_eigen


def load(path_or_name: str | os.PathLike, checkpoint: str = "best") -> "TrainedModel":
    """Open a trained model.

    What is compiled for it is kept on disk for the next process, in $EXFLOW_CACHE_DIR/jax (default ~/.cache/exflow/jax)
    unless JAX has a compilation cache already; JAX_ENABLE_COMPILATION_CACHE=0 keeps nothing.

    Args:
      path_or_name: Working directory of a training run, or the name of a model that comes with exflow.
      checkpoint: For a working directory: "best" on validation, as its evaluation uses, or "latest".

    Returns:
      The model.

    Raises:
      UserError: It does not exist or cannot be read; one line that says what to do.
    """
    leave_convolutions_to_eigen()
    enable_compilation_cache()
    return TrainedModel(*loading.find(path_or_name, checkpoint))


class TrainedModel(SetScores):
    """A model with its parameters.

    Images are uint8 `[..., height, width, channels]` in the convention of the model's data set; `preprocess` brings raw
    pictures there. `key=None` fixes the dequantization noise at its mean, which makes every result a function of the
    images alone; a key, or an int as its seed, draws it, as in training and in the paper.

    `num_importance_samples` tightens densities that are lower bounds. Of a model with latents it is the number of their
    draws; None: `config.evaluation.importance_samples`. Of a model with exact densities it is the number of draws of
    the noise, for which it needs a key; None: 1. Densities are averaged over the draws, anomaly scores themselves.

    Attributes: see `ImageModel`.
    """

    def warmup(
        self,
        set_size: int = 16,
        num_sets: int = 1,
        num_classes: int = 5,
        num_images: int = 16,
        num_samples: int = 16,
        calls: Sequence[str] | None = None,
        noise: bool = False,
        num_importance_samples: int | None = None,
    ) -> None:
        """Compile what a service will call, before its first request; up to these sizes nothing is compiled after it.

        Numbers of images are padded to few sizes, so that a service without it has met all of them before long; every
        first time takes up to seconds. Compiled programs are kept on disk: the next process loads them.

        Args:
          set_size: Images of the largest set: absorbed by a state, scored at once, or of a class.
          num_sets: Sets that one call scores.
          num_classes: Classes of one classification.
          num_images: Images, each on its own, that one call scores, classifies or encodes.
          num_samples: Samples that one call draws.
          calls: Names of the methods that will be called, such as ("update", "log_prob"). None: all of them. Methods
            that the model has not the capability for are left out.
          noise: Calls will give a key for the noise; otherwise none will.
          num_importance_samples: As calls will give it.

        Raises:
          ValueError: An unknown name, or a size below 1.
        """
        sizes = warmup.Sizes(set_size, num_sets, num_classes, num_images, num_samples)
        requests = warmup.Requests(self, sizes, 0 if noise else None, num_importance_samples)
        warmup.warm(requests, warmup.CALLS if calls is None else tuple(calls))

    @functools.cached_property
    def identity(self) -> ModelIdentity:
        """What its states carry: a digest of parameters and options."""
        return identity(self.core, self.params, self.config)

    def init_state(self) -> State:
        """State of the empty set."""
        return SetState(compiled.empty_states(self.core, self.folded_params, ()), self.identity)

    def update(self, state: State, x: Images, key: KeyOrSeed | None = None, context: Context = None) -> State:
        """Absorb one image [h, w, c] or many [num, h, w, c]; the order does not matter."""
        images = check_elements(self.core, x, "x", 3 if np.ndim(x) == 3 else 4)
        elements, mask = padded(self.core, self.folded_params, images, as_key(key), context)
        content = self._content(state)
        return self._compact(compiled.update(self.core, self.folded_params, content, elements, mask))

    def remove(self, state: State, x: Images, key: KeyOrSeed | None = None, context: Context = None) -> State:
        """Forget one image [h, w, c] or many [num, h, w, c], the state being as if they had never been absorbed.

        Args:
          state: From `update`.
          x: Images that it has absorbed; of others the result means nothing.
          key: As in the `update` that absorbed them, together where it was a key: the same noise is taken away.
          context: Of the images, for a conditional model.
        """
        images = check_elements(self.core, x, "x", 3 if np.ndim(x) == 3 else 4)
        known, content = check_context(self.context_dim, context, images.shape[:-3]), self._content(state)
        elements = encode(self.core, self.folded_params, images.reshape(-1, *self.image_shape), as_key(key), known)
        for number in range(math.prod(images.shape[:-3])):
            element = jax.tree.map(lambda leaf, number=number: leaf[number], elements)
            content = compiled.remove(self.core, self.folded_params, content, element)
        return self._compact(content)

    def merge(self, a: State, b: State) -> State:
        """State of the union of two disjoint sets."""
        contents = self._content(a, "a"), self._content(b, "b")
        return self._compact(compiled.merge(self.core, self.folded_params, *contents))

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
        content = self._content(state)
        known, flat = check_context(self.context_dim, context, x.shape[:-3]), x.reshape(-1, *self.image_shape)

        def one(key: PRNGKey | None, draws: int) -> np.ndarray:
            calls = encoded(self.core, self.folded_params, flat, key, known)
            found = [compiled.log_prob(self.core, self.folded_params, content, elements, draws) for elements in calls]
            return joined(found, len(flat))

        log_probs = self._over_draws(one, key, num_importance_samples)
        return np.asarray(log_probs[0]) if x.ndim == 3 else log_probs

    def sample(
        self,
        state: State | None,
        key: KeyOrSeed,
        num_samples: int,
        coherent: bool = False,
        context: Context = None,
        method: str = "",
    ) -> UInt8[np.ndarray, "num height width channels"] | Float[np.ndarray, "num 1 1 dim"]:
        """Images, or vectors, given the absorbed ones.

        Args:
          state: From `init_state` or `update`. None: images from what a model with a sampler was fitted to after
            training; of a model without one, those of the empty set.
          key: Random key, or a seed.
          num_samples: Number of images.
          coherent: Draw one set of the same unknown class; otherwise every image on its own.
          context: Of the samples, [num_samples, context_dim], for a conditional model.
          method: Of a sampler that is fitted after training, such as "threshold"; "": its first.

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
            fitted = self.fitted.by(method)
            assert draw_key is not None
            return sample_fitted(self.core, self.folded_params, fitted, draw_key, num_samples, method)
        content = self._content(self.init_state() if state is None else state)
        known, process = check_context(self.context_dim, context, (num_samples,)), self.core.process
        if process is not None and process.sample is not None:  # few programs decode any number of latent vectors
            z = compiled.sample_latents(process.sample, self.folded_params, content, draw_key, size, coherent)
            calls = in_calls((np.asarray(z)[:num_samples], known))
            return joined([compiled.decode(self.core, self.folded_params, *call) for call in calls], num_samples)
        if known is not None:
            known = known[np.minimum(np.arange(size), num_samples - 1)]
        samples = compiled.sample(self.core, self.folded_params, content, draw_key, size, coherent, known)
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

        Under a model of single images, whose density does not depend on other images, every class is as probable as
        its prior: nothing can be learnt of a class.

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
        query_known = check_context(self.context_dim, query_context, (len(query),), "query_context")

        def one(key: PRNGKey | None, draws: int) -> np.ndarray:
            query_key = None if key is None else jax.random.fold_in(key, 1)
            images = (np.concatenate(classes), key, known), (query, query_key, query_known)
            elements, queries = encode_both(self.core, self.folded_params, *images)
            states = compiled.class_states(self.core, self.folded_params, scatter(elements, mask), mask)
            scored = functools.partial(compiled.class_log_probs, self.core, self.folded_params, states, draws=draws)
            found = [scored(part) for part in in_calls(queries)]
            return joined(found, len(query))

        scores = self._over_draws(one, key, num_importance_samples)[:, : len(classes)].astype(np.float64)
        if log_prior is not None:
            prior = np.asarray(log_prior, np.float64)
            if prior.shape != (len(classes),):
                raise ValueError(f"log_prior: expected [{len(classes)}], got {prior.shape}. Give one number per class.")
            scores = scores + prior[None]
        return scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)

    def _compact(self, content: State) -> SetState:
        compact = sets_of(self.core).compact
        return SetState(content if compact is None else compact(content), self.identity)

    def _content(self, state: State, name: str = "state") -> State:
        """What a state holds, on the devices, wherever it comes from: so it is one shape to what is compiled."""
        return placement.replicate(content_of(state, self.identity, name))
