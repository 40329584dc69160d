"""What the latent of a set knows about the set: its posterior mean, and probes from it to facts of the set."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial import KDTree

from exflow.core.latents.elements import SeenElements
from exflow.evaluation import placement
from exflow.evaluation.chunks import in_chunks
from exflow.model import Model, latents_of
from exflow.typing import Params

ELEMENTS_PER_CALL = 20_000  # in sets of one split; at least one set
NUM_FEATURES = 500
RIDGE = 1e-4  # per training set, on features of variance 1
NEIGHBOURS = 5


@functools.partial(jax.jit, static_argnums=0)
def _posterior_means(
    model: Model, params: Params, x_set: Array, mask: Bool[Array, "sets set"]
) -> Float[Array, "sets dim"]:
    state = SeenElements(model.encode(params, None, x_set), mask)
    means = [q.mean.reshape(len(mask), -1) for q in latents_of(model).set_posteriors(params, state)]
    return jnp.concatenate(means, axis=1)


def context_means(model: Model, params: Params, image_sets: Any) -> Float[np.ndarray, "sets dim"]:
    """Posterior means of the latents of the sets of a split, levels side by side, top first.

    Args:
      model: Set VAE with a latent of the set.
      params: Its parameters.
      image_sets: Split; every class is one set.
    """
    index, count = np.asarray(image_sets.index), np.asarray(image_sets.count)
    x_set, mask = np.asarray(image_sets.images)[index], np.arange(index.shape[1])[None] < count[:, None]
    run = functools.partial(_posterior_means, model, placement.replicate(params))
    return in_chunks(run, (x_set, mask), min(max(1, ELEMENTS_PER_CALL // index.shape[1]), len(index)))


def whitening(x: Float[np.ndarray, "sets dim"]) -> Callable[[np.ndarray], Float[np.ndarray, "sets dim"]]:
    """The linear map onto principal directions in which x has mean 0 and variance 1; constant directions become 0."""
    mean = x.mean(axis=0, dtype=np.float64)
    variance, directions = np.linalg.eigh(np.atleast_2d(np.cov(x - mean, rowvar=False)))
    scale = np.where(variance > 1e-9 * variance.max(), 1 / np.sqrt(np.maximum(variance, 1e-300)), 0.0)
    order = np.argsort(-variance)
    projection = (directions * scale)[:, order]
    return lambda x: (x - mean) @ projection


def regression_r2(
    train_x: Float[np.ndarray, "train dim"],
    train_y: Float[np.ndarray, "train targets"],
    test_x: Float[np.ndarray, "test dim"],
    test_y: Float[np.ndarray, "test targets"],
    rng: np.random.Generator,
) -> Float[np.ndarray, " targets"]:
    """Share of the variance of each target that a small regression explains on the test sets; 1 is all of it.

    Ridge regression on the whitened inputs and on random Fourier features of a Gaussian kernel whose width is the
    typical distance of two of them. Source: Rahimi & Recht 2007, "Random features for large-scale kernel machines".
    """
    white, dim = whitening(train_x), train_x.shape[1]
    frequency, phase = rng.normal(size=(dim, NUM_FEATURES)) / np.sqrt(2 * dim), rng.uniform(0, 2 * np.pi, NUM_FEATURES)

    def features(x: np.ndarray) -> np.ndarray:
        x = white(x)
        return np.concatenate([np.ones((len(x), 1)), x, np.sqrt(2) * np.cos(x @ frequency + phase)], axis=1)

    train = features(train_x)
    gram = train.T @ train / len(train) + RIDGE * np.eye(train.shape[1])
    weights = np.linalg.solve(gram, train.T @ train_y / len(train))
    residual = ((test_y - features(test_x) @ weights) ** 2).sum(axis=0)
    return 1 - residual / ((test_y - test_y.mean(axis=0)) ** 2).sum(axis=0)


def neighbours_agree(
    train_x: Float[np.ndarray, "train dim"],
    train_label: Int[np.ndarray, " train"],
    test_x: Float[np.ndarray, "test dim"],
    test_label: Int[np.ndarray, " test"],
) -> Bool[np.ndarray, " test"]:
    """Whether the label of a test set is the commonest among its five nearest training sets; the smallest of a tie.

    Distances are those of whitened inputs, so that no linear map of the latent changes the answer.
    """
    white = whitening(train_x)
    nearest = KDTree(white(train_x)).query(white(test_x), NEIGHBOURS)[1]
    votes = (train_label[nearest][:, :, None] == np.arange(train_label.max() + 1)).sum(axis=1)
    return votes.argmax(axis=1) == test_label
