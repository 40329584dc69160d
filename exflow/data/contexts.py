"""What is known of every image of a data set, for the models that take it."""

from typing import Any

import numpy as np
from jaxtyping import Float

from exflow.errors import UserError


def known_context(image_sets: Any, context_dim: int) -> Float[np.ndarray, "images context"] | None:
    """Context of every image of a split, None for a model that takes none.

    Args:
      image_sets: A split.
      context_dim: Numbers that the model wants to know of every image; 0: none.

    Raises:
      UserError: The model needs contexts and the data set has none, or of another length.
    """
    if context_dim == 0:
        return None
    context = image_sets.context
    got = 0 if context is None else context.shape[1]
    if got != context_dim:
        raise UserError(
            f"{image_sets.name}: expected {context_dim} numbers known of every image, such as its view angle as "
            f"(sin, cos), got {got}. Use a data set of views, such as rotated_glyphs, or a model without context."
        )
    return np.asarray(context)
