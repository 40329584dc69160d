"""The Real NVP stacks of BRUNO: which couplings, in which order (Korshunova et al. 2018, arXiv:1802.07535, appendix).

    scale, logit                                pixels [0, 256) to the real line
    scale block k: checkerboard 0 1 0, squeeze, channel 0 1 0, factor out half of the channels
    checkerboard 0 1 0 1                        on what remains after the last block
    flatten, dense couplings even odd even ...  on the whole latent vector

`scales = 0` leaves the dense couplings alone (on pixels), 2 is the two-scale stack of the Omniglot, Fashion-MNIST and
CIFAR-10 models, 3 the three-scale stack of Conditional BRUNO. Height and width must be divisible by 2^(scales - 1).
With `conditioning` all couplings also see the context of the image, embedded once (see `conditional`), and
with `turn_back` the image is turned to one position after the logit (see `exflow.core.bijectors.rotation`).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from exflow.core.bijectors.affine import scale
from exflow.core.bijectors.bijector import Bijector, chain
from exflow.core.bijectors.coupling import (
    Mask,
    MaskFunction,
    affine_coupling,
    alternate,
    channel,
    checkerboard,
    flat_checkerboard,
)
from exflow.core.bijectors.logit import logit
from exflow.core.bijectors.rotation import turn_back
from exflow.core.bijectors.spline import num_outputs, spline_coupling
from exflow.core.bijectors.squeeze import factor_out, flatten, squeeze, squeezed_shape
from exflow.errors import UserError
from exflow.models.bruno.conditional import ConditionalConvConditioner, ConditionalDenseConditioner, ContextEmbedding
from exflow.models.bruno.conditioners import ConvConditioner, DenseConditioner
from exflow.nn.network import network
from exflow.typing import Array, Network, Params, PRNGKey

CHECKERBOARDS_PER_BLOCK = (0, 1, 0)
CHANNELS_PER_BLOCK = (0, 1, 0)
CHECKERBOARDS_AT_END = (0, 1, 0, 1)


def bruno_flow(config: ConfigDict, image_shape: tuple[int, int, int]) -> Bijector:
    """Build the flow from dequantized pixels `[batch, height, width, channels]` to latent vectors `[batch, dim]`.

    Args:
      config: Section `model` of the configuration.
      image_shape: Height, width and channels.

    Returns:
      Bijector whose log-determinant is per image, in nats. It is the identity after the logit at initialisation,
      except with conditioning "original". With conditioning it takes contexts [batch, context_dim].

    Raises:
      UserError: The image cannot be squeezed as often as `model.bruno.scales` asks.
    """
    model = config.bruno
    height, width, _ = image_shape
    num_squeezes = max(model.scales - 1, 0)
    if height % 2**num_squeezes or width % 2**num_squeezes:
        raise UserError(
            f"config.model.bruno.scales: {model.scales} scales halve the image {num_squeezes} times, but "
            f"{height}x{width} is not divisible by {2**num_squeezes}. Use fewer scales or another "
            "config.data.image_size."
        )
    conv, dense_for = _conditioners(config)

    def coupling(mask: MaskFunction | Mask, conditioner: Network) -> Bijector:
        if model.coupling == "spline":
            return spline_coupling(mask, conditioner, model.spline_bins, model.spline_bound)
        return affine_coupling(mask, conditioner, learned_range=model.coupling == "affine_scaled")

    def checkerboards(parities: tuple[int, ...]) -> list[Bijector]:
        return [coupling(checkerboard(parity), conv) for parity in parities]

    def scale_blocks(num_blocks: int) -> list[Bijector]:
        if num_blocks == 0:
            return checkerboards(CHECKERBOARDS_AT_END)
        channels = [coupling(channel(parity), conv) for parity in CHANNELS_PER_BLOCK]
        rest = factor_out(chain(*scale_blocks(num_blocks - 1)))
        return [*checkerboards(CHECKERBOARDS_PER_BLOCK), squeeze(), *channels, rest]

    convolutional = scale_blocks(num_squeezes) if model.scales else []
    flat_shape = squeezed_shape(image_shape, num_squeezes)
    parities = [index % 2 for index in range(model.dense_couplings)]
    dense_couplings = [coupling(dense_mask(model.dense_mask, flat_shape, n), dense_for(n)) for n in parities]
    pixels = [scale(1 / 256), logit(model.alpha)]
    couplings = [*convolutional, flatten(flat_shape), *dense_couplings]
    if model.conditioning == "none":
        return chain(*pixels, *couplings)
    turned = [turn_back()] if model.turn_back else []
    return chain(*pixels, *turned, with_embedding(chain(*couplings), network(ContextEmbedding())))


def dense_mask(name: str, shape: tuple[int, int, int], parity: int) -> Mask | MaskFunction:
    """Mask of a dense coupling on flattened images of `shape`.

    "alternate" is that of the published models: every second entry of the flat vector, which are columns of a gray
    image of even width, and channels of a squeezed one. "checkerboard" alternates along rows and columns.
    """
    return flat_checkerboard(shape, parity) if name == "checkerboard" else alternate(parity)


def _conditioners(config: ConfigDict) -> tuple[Network, Callable[[int], Network]]:
    """Network of the convolutional couplings, and (parity of the mask) -> network of the dense couplings."""
    model = config.bruno
    shared = {
        "initialization": model.initialization,
        "weight_norm": model.weight_norm,
        "bounded_features": model.bounded_features,
        "compute_dtype": jnp.bfloat16 if config.compute_dtype == "bfloat16" else None,
    }
    dense = {"bfloat16_products": config.compute_dtype == "bfloat16_products"}
    conv = {
        "filters": model.filters,
        "num_blocks": model.residual_blocks,
        "block_loop": config.block_loop,
        "gradient": model.conv_gradient,
        "remat": model.remat,
    }
    shared["outputs_per_entry"] = num_outputs(model.spline_bins) if model.coupling == "spline" else 2
    if model.conditioning == "none":

        def dense_for(parity: int) -> Network:
            passing = 1 - parity if model.dense_mask == "alternate" else None
            return network(DenseConditioner(model.dense_units, passing=passing, **dense, **shared))

        return network(ConvConditioner(**conv, **shared)), dense_for
    shared["conditioning"] = model.conditioning
    conditional = network(ConditionalDenseConditioner(model.dense_units, **dense, **shared))
    return network(ConditionalConvConditioner(**conv, **shared)), lambda parity: conditional


def with_embedding(flow: Bijector, embedding: Network) -> Bijector:
    """The same map, whose parts see embedding(context) in place of the context.

    Args:
      flow: Any map that takes a context.
      embedding: Network from contexts [batch, context_dim] to features [batch, features].

    Returns:
      Bijector with params `{"embedding", "couplings"}`.
    """

    def init(key: PRNGKey, x: Array, context: Array) -> Params:
        embedding_key, flow_key = jax.random.split(key)
        params = embedding.init(embedding_key, context)
        return {"embedding": params, "couplings": flow.init(flow_key, x, embedding.apply(params, context))}

    def forward(params: Params, x: Array, context: Array) -> tuple[Array, Array]:
        return flow.forward(params["couplings"], x, embedding.apply(params["embedding"], context))

    def inverse(params: Params, z: Array, context: Array) -> tuple[Array, Array]:
        return flow.inverse(params["couplings"], z, embedding.apply(params["embedding"], context))

    return Bijector(init, forward, inverse)
