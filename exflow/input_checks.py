"""Checks of what users hand to the Python API."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Shaped

from exflow.model import Model
from exflow.typing import PRNGKey

KeyOrSeed = PRNGKey | int | np.integer  # a seed is an int


def as_key(key: KeyOrSeed | None) -> PRNGKey | None:
    """The random key of a seed; keys, and None, stay as they are."""
    return jax.random.key(int(key)) if isinstance(key, int | np.integer) else key


def check_elements(model: Model, x: Any, name: str, ndim: int | None) -> Shaped[np.ndarray, "..."]:
    """Images, or vectors of models of vectors, as an array of the model's type; `ndim` None allows any leading axes.

    Raises:
      TypeError: Pixels are not uint8, or vectors not floats.
      ValueError: Not of the shape of the model's elements.
    """
    x = np.asarray(x)
    shape = ", ".join(map(str, model.image_shape))
    if model.of_vectors:
        if not np.issubdtype(x.dtype, np.floating):
            raise TypeError(f"{name}: expected vectors of floats, got {x.dtype}. Convert them to float32.")
        x = x.astype(np.float32)
    elif x.dtype != np.uint8:
        raise TypeError(f"{name}: expected uint8 pixels 0..255, got {x.dtype}. See model.preprocess.")
    if x.shape[-3:] != model.image_shape or (ndim is not None and x.ndim != ndim):
        leading = {None: "..., ", 3: "", 4: "num, "}[ndim]
        raise ValueError(f"{name}: expected [{leading}{shape}], got {x.shape}. See model.preprocess.")
    return x


def check_observed(observed: Any, shape: tuple[int, ...]) -> Bool[np.ndarray, "..."]:
    """Which pixels of images of a shape are observed, with the images' leading axes and one channel.

    Raises:
      TypeError: Not bool.
      ValueError: Another shape.
    """
    given = np.asarray(observed)
    if given.dtype != bool:
        raise TypeError(f"observed: expected bool, True where a pixel is seen, got {given.dtype}. Compare with 0.")
    whole, one = shape[:-1], shape[-3:-1]
    given = given[..., 0] if given.shape in ((*whole, 1), (*one, 1)) else given
    if given.shape not in (whole, one):
        raise ValueError(f"observed: expected {list(one)} or {list(whole)}, got {given.shape}. One entry per pixel.")
    return np.broadcast_to(given, whole)[..., None]


def check_context(
    context_dim: int, context: Any, leading: tuple[int, ...], name: str = "context"
) -> Float[np.ndarray, "num context"] | None:
    """Contexts of images with leading axes, flattened to [num, context_dim]; None for a model that takes none.

    Raises:
      ValueError: Contexts are missing, not wanted, of another shape or not finite.
    """
    if context_dim == 0:
        if context is not None:
            raise ValueError(f"{name}: expected none, this model does not know of contexts. Leave it out.")
        return None
    shape = (*leading, context_dim)
    given = None if context is None else np.asarray(context, np.float32)
    if given is None or given.shape != shape or not np.isfinite(given).all():
        got = "none" if given is None else f"{given.shape}" if given.shape != shape else "values that are not"
        raise ValueError(f"{name}: expected finite {list(shape)}, got {got}. Give what is known of every image.")
    return given.reshape(-1, context_dim)
