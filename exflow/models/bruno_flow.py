"""The Real NVP stacks of BRUNO: which couplings, in which order (Korshunova et al. 2018, arXiv:1802.07535, appendix).

    scale, logit                                pixels [0, 256) to the real line
    scale block k: checkerboard 0 1 0, squeeze, channel 0 1 0, factor out half of the channels
    checkerboard 0 1 0 1                        on what remains after the last block
    flatten, dense couplings even odd even ...  on the whole latent vector

`scales = 0` leaves the dense couplings alone (on pixels), 2 is the two-scale stack of the Omniglot, Fashion-MNIST and
CIFAR-10 models, 3 the three-scale stack of Conditional BRUNO. Height and width must be divisible by 2^(scales - 1).
"""

import jax.numpy as jnp
from ml_collections import ConfigDict

from exflow.core.affine import scale
from exflow.core.bijector import Bijector, chain
from exflow.core.coupling import affine_coupling, alternate, channel, checkerboard
from exflow.core.logit import logit
from exflow.core.squeeze import factor_out, flatten, squeeze, squeezed_shape
from exflow.errors import UserError
from exflow.nn.network import network
from exflow.nn.resnet import ConvConditioner, DenseConditioner

CHECKERBOARDS_PER_BLOCK = (0, 1, 0)
CHANNELS_PER_BLOCK = (0, 1, 0)
CHECKERBOARDS_AT_END = (0, 1, 0, 1)


def bruno_flow(model: ConfigDict, image_shape: tuple[int, int, int]) -> Bijector:
    """Build the flow from dequantized pixels `[batch, height, width, channels]` to latent vectors `[batch, dim]`.

    Args:
      model: Section `model` of the configuration.
      image_shape: Height, width and channels.

    Returns:
      Bijector whose log-determinant is per image, in nats. It is the identity after the logit at initialisation.

    Raises:
      UserError: The image cannot be squeezed as often as `model.scales` asks.
    """
    height, width, _ = image_shape
    num_squeezes = max(model.scales - 1, 0)
    if height % 2**num_squeezes or width % 2**num_squeezes:
        raise UserError(
            f"config.model.scales: {model.scales} scales halve the image {num_squeezes} times, but {height}x{width} "
            f"is not divisible by {2**num_squeezes}. Use fewer scales or another config.data.image_size."
        )
    dtype = None if model.compute_dtype == "float32" else jnp.dtype(model.compute_dtype)
    conv = network(
        ConvConditioner(
            filters=model.filters,
            num_blocks=model.residual_blocks,
            initialization=model.initialization,
            weight_norm=model.weight_norm,
            block_loop=model.block_loop,
            gradient=model.conv_gradient,
            remat=model.remat,
            bounded_features=model.bounded_features,
            compute_dtype=dtype,
        )
    )
    dense = network(
        DenseConditioner(model.dense_units, model.initialization, model.weight_norm, model.bounded_features, dtype)
    )

    def checkerboards(parities: tuple[int, ...]) -> list[Bijector]:
        return [affine_coupling(checkerboard(parity), conv) for parity in parities]

    def scale_blocks(num_blocks: int) -> list[Bijector]:
        if num_blocks == 0:
            return checkerboards(CHECKERBOARDS_AT_END)
        channels = [affine_coupling(channel(parity), conv) for parity in CHANNELS_PER_BLOCK]
        rest = factor_out(chain(*scale_blocks(num_blocks - 1)))
        return [*checkerboards(CHECKERBOARDS_PER_BLOCK), squeeze(), *channels, rest]

    convolutional = scale_blocks(num_squeezes) if model.scales else []
    dense_couplings = [affine_coupling(alternate(index % 2), dense) for index in range(model.dense_couplings)]
    return chain(
        scale(1 / 256),
        logit(model.alpha),
        *convolutional,
        flatten(squeezed_shape(image_shape, num_squeezes)),
        *dense_couplings,
    )
