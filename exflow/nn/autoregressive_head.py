"""A small autoregressive network over the pixels of an image, given a map of features.

The outputs at a pixel depend on the values of the pixels before it, in the order of reading, and on features anywhere:
masked convolutions as in PixelCNN (van den Oord et al. 2016, arXiv:1601.06759, section 3.4). Colours of a pixel are
left to the likelihood. One stack of masks does not see some earlier pixels to the right above; what the features do not
say of these is lost. The model of Bachman 2016 for CIFAR-10 has such a part, which is not public: this one is ours.
"""

import math
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from exflow.nn.activations import elu
from exflow.nn.convolution import fastest_gradient, same_convolution
from exflow.nn.layers import Linear, kernel_init


def causal_mask(size: int, centre: bool) -> Bool[np.ndarray, "size size"]:
    """Entries of a kernel that meet earlier pixels, in rows above and to the left, or also the pixel itself."""
    place = np.arange(size * size)
    middle = size * size // 2
    return ((place < middle) | (centre & (place == middle))).reshape(size, size)


class CausalConvolution(nn.Module):
    """Convolution of images `[batch, height, width, channels]` whose kernel sees earlier pixels alone.

    Attributes:
      features: Number of output channels.
      size: Height and width of the kernel, odd.
      centre: Whether it sees the pixel itself: in every layer but the first.
    """

    features: int
    size: int
    centre: bool

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width num_in"]) -> Float[Array, "batch height width features"]:
        """Apply the layer, without a bias."""
        mask = causal_mask(self.size, self.centre)
        init = kernel_init(self, "uniform_fan_in", int(mask.sum()) * x.shape[-1], 0)
        kernel = self.param("kernel", init, (self.size, self.size, x.shape[-1], self.features))
        masked = kernel.astype(x.dtype) * mask[:, :, None, None].astype(x.dtype)
        return same_convolution(x, masked, fastest_gradient())


class AutoregressiveHead(nn.Module):
    """From features and values of an image to the outputs that a likelihood scores the values by.

    Attributes:
      num_outputs: Channels of the output.
      filters: Channels of the layers between.
      sizes: Kernels of the layers, the first of which does not see the pixel itself; all odd.
      compute_dtype: Type of the layers (default: that of the features).
    """

    num_outputs: int
    filters: int = 32
    sizes: tuple[int, ...] = (5, 3, 3)
    compute_dtype: Any = None

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "*lead height width num_features"],
        values: Float[Array, "*lead height width channels"],
    ) -> Float[Array, "*lead height width num_outputs"]:
        """Apply the network; features and values have the same leading axes."""
        dtype = self.compute_dtype or features.dtype
        leading = features.shape[:-3]
        given, x = (part.astype(dtype).reshape(math.prod(leading), *part.shape[-3:]) for part in (features, values))
        for number, size in enumerate(self.sizes):
            x = CausalConvolution(self.filters, size, centre=number > 0)(x)
            x = elu(x + Linear(self.filters, compute_dtype=dtype)(given))
        x = Linear(self.num_outputs, compute_dtype=dtype)(x)
        return x.reshape(*leading, *x.shape[1:])
