"""Parameters for tests, made by NumPy: an initialisation takes longer to compile than what most tests look at."""

import jax
import jax.numpy as jnp
import numpy as np

from exflow.models.registry import params_like


def random_like(shapes, seed=0):
    """Kernels about as large as those of an initialisation, factors around 1, everything else around 0."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        deviation = 0.5 * np.prod(leaf.shape[:-1]) ** -0.5 if len(leaf.shape) > 1 else 0.1
        mean = 1.0 if jax.tree_util.keystr(path[-1:], simple=True) in ("gain", "scale") else 0.0
        return jnp.asarray(rng.normal(mean, deviation, leaf.shape).astype(leaf.dtype))

    return jax.tree.map_with_path(draw, shapes)


def random_params(model, config, seed=0):
    """Parameters like those of an initialisation, with positive averages of batch normalisation."""
    params = random_like(params_like(model, config), seed)
    if "statistics" in params:
        params["statistics"] = jax.tree.map(
            lambda leaf: jnp.asarray(np.abs(leaf) + np.float32(0.5)), params["statistics"]
        )
    return params


def shaken(params, seed=1):
    """Non-zero heads and processes that differ between dimensions, so that nothing cancels by symmetry."""
    rng = np.random.default_rng(seed)

    def shake(leaf):
        return jnp.asarray((np.asarray(leaf) + rng.normal(0, 0.1, np.shape(leaf))).astype(leaf.dtype))

    return jax.tree.map(shake, params)


def in_float64(params):
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), params)
