"""The importance-weighted bound with gradients for the inference network whose noise does not grow with the draws.

With draws z_k of the latents, weights w_k = p(x, z_k) / q(z_k | x) and their shares v_k, the reparametrised gradient of
the bound for parameters phi of q is

    sum_k v_k (d log w_k / dz_k  dz_k / dphi - d log q(z_k | x) / dphi)        IWAE; its signal to noise falls with K
    sum_k v_k^2 d log w_k / dz_k  dz_k / dphi                                  DReG: the same in expectation

where phi in log q(z | x) is held fixed, while latents above enter the posteriors of those below them. Parameters of the
generator get the first, the plain derivative of the bound, also where posteriors depend on them. Source: Tucker et al.
2018, arXiv:1810.04152.
"""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float, Key

from exflow.core.latents.bounds import iwae_bound
from exflow.typing import Params, PRNGKey


def doubly_reparametrized_bound(
    draw: Callable[[Params, PRNGKey], Any],
    log_weight: Callable[[Params, Any], Float[Array, "*lead"]],
    params: Params,
    keys: Key[Array, " draws"],
    is_inference: Callable[[str], bool],
) -> Float[Array, "*lead"]:
    """`iwae_bound` of draws, whose derivative by the parameters of the inference network is the DReG estimate.

    Compiled, it is one forward pass of each function, backward two.

    Args:
      draw: (params, key) -> latents, reparametrised: a pytree of arrays.
      log_weight: (params, latents) -> log p(x, latents) - log q(latents | x), where posteriors see the latents given.
      params: Dict of top-level parameters.
      keys: One per draw.
      is_inference: Whether a top-level parameter belongs to the inference network.

    Returns:
      The bound, nats; to be maximised.
    """
    fixed = jax.lax.stop_gradient(params)
    generator = {name: (fixed if is_inference(name) else params)[name] for name in params}
    inference = {name: (params if is_inference(name) else fixed)[name] for name in params}

    def plain(key: PRNGKey) -> Float[Array, "*lead"]:
        return log_weight(generator, draw(generator, key))

    def through_latents(key: PRNGKey) -> Float[Array, "*lead"]:
        return log_weight(fixed, draw(inference, key))

    log_weights = jax.vmap(plain)(keys)
    shares = jax.lax.stop_gradient(jax.nn.softmax(log_weights, axis=0))
    estimate = (shares**2 * jax.vmap(through_latents)(keys)).sum(axis=0)
    return iwae_bound(log_weights) + estimate - jax.lax.stop_gradient(estimate)  # a value of 0, with its derivative
