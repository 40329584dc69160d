"""The Python API: a trained model that scores, samples and classifies from small sets of uint8 images.

    import exflow

    model = exflow.load("runs/bruno_omniglot")
    state = model.init_state()
    for x in stream:                                # uint8 images of model.image_shape
        print(model.log_prob(state, x))             # nats, given all images before
        state = model.update(state, x)

A conditional model (`model.context_dim` > 0) also takes `context=`, what is known of every image, such as its view
angle as (sin, cos): `model.update(state, x, context=context)`, `model.sample(state, key, 3, context=wanted_contexts)`.

Images are encoded in groups and sets are padded to powers of two, so that arbitrary sizes cause few compilations.
Results are NumPy arrays; states are pytrees of small arrays that can be stored and updated any number of times.
"""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from exflow import loading
from exflow.evaluation import compiled, encoding, placement
from exflow.evaluation.compiled import power_of_two, scatter
from exflow.input_checks import check_context, check_elements
from exflow.model import Model, sets_of
from exflow.models.registry import num_parameters
from exflow.raw_images import preprocess
from exflow.typing import Element, Params, PRNGKey, State

Images = Any  # array-like of uint8 [..., height, width, channels]; checked at run time
Context = Any  # array-like of floats [..., context_dim] with the leading axes of the images, or None
MAX_ENCODED = 256  # images per encoding call


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


class TrainedModel:
    """A set model with its parameters.

    Images are uint8 `[..., height, width, channels]` in the convention of the model's data set; `preprocess` brings raw
    pictures there. `key=None` fixes the dequantization noise at its mean, which makes every result a function of the
    images alone; a key draws it, as in training and in the paper.

    Attributes:
      image_shape: Height, width and channels.
      context_dim: Length of the context of an image; 0 for a model that takes none.
      name: Model family.
      core: The pure functions behind the methods.
      params: Their parameters.
      config: Configuration of the training run.
      info: Where the parameters come from.
    """

    def __init__(
        self, core: Model, params: Params, config: ConfigDict | None = None, info: dict[str, Any] | None = None
    ):
        """Wrap a set model; `load` is the usual way to get one."""
        self.core, self.params = core, placement.replicate(params)
        self.config, self.info = config, dict(info or {})
        self._draws = 1 if config is None else int(config.evaluation.importance_samples)
        self.name, self.image_shape, self.context_dim = core.name, core.image_shape, core.context_dim

    def __repr__(self) -> str:
        number = f"{num_parameters(self.params):,} parameters"
        return f"TrainedModel({self.name}, image_shape={self.image_shape}, {number}, {self.info})"

    def preprocess(self, raw: Any, invert: bool | None = None) -> UInt8[np.ndarray, "..."]:
        """Bring raw pictures into the convention of the model's data set.

        Args:
          raw: One picture [height, width] or [height, width, channels], a stack with a leading axis, a Pillow image,
            or a list of pictures of any sizes; uint8 0..255 or bool. Drawn black on white where the data set is
            (Omniglot, glyphs), as `tensorflow_datasets` delivers it otherwise.
          invert: Exchange black and white; None: as the data set needs.

        Returns:
          uint8 [*image_shape] for one picture, else [num, *image_shape].

        Raises:
          TypeError: Pixels are neither uint8 nor bool.
          ValueError: Not the shape of pictures.
        """
        if self.config is None:
            raise ValueError("preprocess: this model has no configuration that says how. Use exflow.load.")
        return preprocess(raw, self.config.data, self.image_shape, invert)

    def encode(self, x: Images, key: PRNGKey | None = None, context: Context = None) -> Element:
        """What the model keeps of every image; leading axes are those of `x`."""
        x = check_elements(self.core, x, "x", None)
        known = check_context(self.context_dim, context, x.shape[:-3])
        flat = self._encode(x.reshape(-1, *self.image_shape), key, known)
        return jax.tree.map(lambda leaf: leaf.reshape(*x.shape[:-3], *leaf.shape[1:]), flat)

    def init_state(self) -> State:
        """State of the empty set."""
        return sets_of(self.core).init_state(self.params)

    def update(self, state: State, x: Images, key: PRNGKey | None = None, context: Context = None) -> State:
        """Absorb one image [h, w, c] or many [num, h, w, c]; the order does not matter."""
        images = check_elements(self.core, x, "x", 3 if np.ndim(x) == 3 else 4)
        elements, mask = self._padded(images, key, context)
        state = compiled.update(self.core, self.params, state, elements, mask)
        compact = sets_of(self.core).compact
        return state if compact is None else compact(state)

    def log_prob(
        self,
        state: State,
        x_new: Images,
        key: PRNGKey | None = None,
        num_importance_samples: int = 1,
        context: Context = None,
    ) -> Float[np.ndarray, "..."]:
        """Log p(x_new | absorbed images) in nats, of one image or of each of many on its own.

        Args:
          state: From `init_state` or `update`.
          x_new: Image [h, w, c] or images [num, h, w, c].
          key: Key of the noise; None fixes it at its mean.
          num_importance_samples: With a key, the density is averaged over so many draws of the noise: a lower bound on
            the log-probability of the discrete image that tightens with their number. Of a set VAE, draws of the
            latents in each of the two bounds whose difference is returned; no key is needed.
          context: Of the images, for a conditional model.

        Returns:
          One number, or [num].

        Raises:
          ValueError: More than one importance sample without a key.
        """
        exact = sets_of(self.core).exact
        if num_importance_samples < 1 or (num_importance_samples > 1 and key is None and exact):
            raise ValueError(f"num_importance_samples: expected 1, or more with a key, got {num_importance_samples}.")
        x = check_elements(self.core, x_new, "x_new", 3 if np.ndim(x_new) == 3 else 4)
        number = 1 if x.ndim == 3 else len(x)
        keys, draws = [key], self._draws if num_importance_samples == 1 else num_importance_samples
        if exact and key is not None and num_importance_samples > 1:
            keys = [jax.random.fold_in(key, draw) for draw in range(num_importance_samples)]
        found = []
        for draw_key in keys:
            elements, _ = self._padded(x, draw_key, context)
            found.append(np.asarray(compiled.log_prob(self.core, self.params, state, elements, draws))[:number])
        log_probs = np.logaddexp.reduce(np.stack(found), axis=0) - np.float32(math.log(len(found)))
        return np.asarray(log_probs[0]) if x.ndim == 3 else log_probs

    def sample(
        self, state: State, key: PRNGKey, num_samples: int, coherent: bool = False, context: Context = None
    ) -> UInt8[np.ndarray, "num height width channels"] | Float[np.ndarray, "num 1 1 dim"]:
        """Images, or vectors, given the absorbed ones.

        Args:
          state: From `init_state` or `update`.
          key: Random key.
          num_samples: Number of images.
          coherent: Draw one set of the same unknown class; otherwise every image on its own.
          context: Of the samples, [num_samples, context_dim], for a conditional model.

        Returns:
          Images.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples: expected at least 1, got {num_samples}.")
        size = power_of_two(num_samples)
        known = check_context(self.context_dim, context, (num_samples,))
        if known is not None:
            known = known[np.minimum(np.arange(size), num_samples - 1)]
        samples = compiled.sample(self.core, self.params, state, key, size, coherent, known)
        return np.asarray(samples)[:num_samples]

    def classify(
        self,
        support: Images | Sequence[Images],
        query: Images,
        key: PRNGKey | None = None,
        log_prior: Float[Any, " n_way"] | None = None,
        support_context: Context | Sequence[Context] = None,
        query_context: Context = None,
    ) -> Float[np.ndarray, "num_query n_way"]:
        """Log p(class | query), each class being described by a few images.

        Args:
          support: Images [n_way, k_shot, h, w, c], or a list of [k, h, w, c] with different numbers k.
          query: Images [num_query, h, w, c].
          key: Key of the noise; None fixes it at its mean.
          log_prior: Log probability of each class, up to a constant; None for equal ones.
          support_context: Of the support images, for a conditional model: [n_way, k_shot, context_dim] or a list.
          query_context: Of the queries, [num_query, context_dim].

        Returns:
          Log probabilities; every row sums to one after exponentiation.
        """
        classes = [check_elements(self.core, x, "support", 4) for x in support]
        if not classes:
            raise ValueError("support: expected at least one class, got none.")
        query = check_elements(self.core, query, "query", 4)
        shots = [len(x) for x in classes]
        mask = np.zeros((power_of_two(len(classes)), power_of_two(max(max(shots), 1))), bool)
        for label, shot in enumerate(shots):
            mask[label, :shot] = True
        known = None if support_context is None else np.concatenate([np.asarray(part) for part in support_context])
        known = check_context(self.context_dim, known, (sum(shots),), "support_context")
        elements = scatter(self._encode(np.concatenate(classes), key, known), mask)
        query_key = None if key is None else jax.random.fold_in(key, 1)
        queries, _ = self._padded(query, query_key, query_context, "query_context")
        scores = np.asarray(compiled.class_log_probs(self.core, self.params, elements, mask, queries, self._draws))
        scores = scores[: len(query), : len(classes)].astype(np.float64)
        if log_prior is not None:
            prior = np.asarray(log_prior, np.float64)
            if prior.shape != (len(classes),):
                raise ValueError(f"log_prior: expected [{len(classes)}], got {prior.shape}. Give one number per class.")
            scores = scores + prior[None]
        return scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)

    def conditional_log_probs(
        self, x_set: Images, mask: Any = None, key: PRNGKey | None = None, context: Context = None
    ) -> Float[np.ndarray, "..."]:
        """Log p(x_n | x_<n) of every element of sets [..., set, h, w, c], in nats; 0 where `mask` is False."""
        return self._over_sets(compiled.conditional, x_set, mask, key, context)

    def set_log_prob(
        self, x_set: Images, mask: Any = None, key: PRNGKey | None = None, context: Context = None
    ) -> Float[np.ndarray, "..."]:
        """Log p(x_1, ..., x_n) in nats, which does not depend on the order.

        Args:
          x_set: Sets of images [..., set, h, w, c].
          mask: [..., set], False where a ragged set has no element; None if all exist.
          key: Key of the noise; None fixes it at its mean.
          context: Of the images, [..., set, context_dim], for a conditional model.

        Returns:
          One number per set, [...].
        """
        function = compiled.conditional if sets_of(self.core).exact else compiled.joint_shares
        return np.asarray(self._over_sets(function, x_set, mask, key, context).sum(axis=-1))

    def anomaly_scores(
        self,
        x_set: Images,
        mask: Any = None,
        key: PRNGKey | None = None,
        leave_one_out: bool = False,
        context: Context = None,
    ) -> Float[np.ndarray, "..."]:
        """How much better each image fits its set than it fits alone; LOW scores are anomalies.

        Args:
          x_set: Sets of images [..., set, h, w, c], in streaming order.
          mask: [..., set], False where a ragged set has no element; None if all exist.
          key: Key of the noise; None fixes it at its mean.
          leave_one_out: Score each image given all others, and not given the ones before it.
          context: Of the images, [..., set, context_dim], for a conditional model.

        Returns:
          log p(x_n | x_<n) - log p(x_n) (or given all others), nats, [..., set]; 0 where `mask` is False.
        """
        function = compiled.leave_one_out_gain if leave_one_out else compiled.conditional_gain
        return self._over_sets(function, x_set, mask, key, context)

    def _over_sets(
        self, function: Callable[..., Any], x_set: Any, mask: Any, key: PRNGKey | None, context: Context
    ) -> np.ndarray:
        x = check_elements(self.core, x_set, "x_set", None)
        if x.ndim < 4:
            shape = ", ".join(map(str, self.image_shape))
            raise ValueError(f"x_set: expected [..., set, {shape}], got {x.shape}. Add a set axis.")
        leading = x.shape[:-3]
        given = np.ones(leading, bool) if mask is None else np.asarray(mask)
        if given.dtype != bool or given.shape != leading:
            raise ValueError(f"mask: expected bool {leading}, got {given.dtype} {given.shape}. One entry per image.")
        flat = given.reshape(math.prod(leading[:-1]), leading[-1])
        padded = np.zeros((power_of_two(max(len(flat), 1)), power_of_two(max(leading[-1], 1))), bool)
        padded[: flat.shape[0], : flat.shape[1]] = flat
        known = check_context(self.context_dim, context, leading)
        known = None if known is None else known[flat.reshape(-1)]
        elements = scatter(self._encode(x.reshape(*flat.shape, *self.image_shape)[flat], key, known), padded)
        out = np.asarray(function(self.core, self.params, elements, padded, self._draws))
        return out[: flat.shape[0], : flat.shape[1]].reshape(leading)

    def _encode(self, x: np.ndarray, key: PRNGKey | None, context: np.ndarray | None) -> Element:
        """Elements of images [num, ...] as NumPy arrays."""
        size = min(MAX_ENCODED, power_of_two(len(x)))
        if len(x) == 0:
            encode = self.core.encode
            like = jax.eval_shape(lambda x, known: encode(self.params, None, x, known), x, context)
            return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
        return encoding.encode_images(self.core, self.params, key, x, size, context=context)

    def _padded(
        self, x: np.ndarray, key: PRNGKey | None, context: Context, name: str = "context"
    ) -> tuple[Element, np.ndarray]:
        """Elements of one image or of many, padded to a power of two, and the mask of the real ones."""
        known, x = check_context(self.context_dim, context, x.shape[:-3], name), x.reshape(-1, *self.image_shape)
        mask = np.arange(power_of_two(max(len(x), 1))) < len(x)
        return scatter(self._encode(x, key, known), mask), mask
