"""The flow of BRUNO between images and latent vectors, images with any leading axes."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from exflow.core.quantization import dequantize, quantize
from exflow.models.bruno.conditional import CONTEXT_DIM
from exflow.models.bruno.flow import bruno_flow
from exflow.typing import Context, Images, Params, PRNGKey


class FlowElement(NamedTuple):
    """What BRUNO keeps of one image."""

    z: Float[Array, "... dim"]  # latent vector
    log_det: Float[Array, "..."]  # log |det dz/dx|, nats


class ImageFlow(NamedTuple):
    """Invertible map between images, with the context of each, and latent vectors."""

    dim: int
    context_dim: int  # 0: takes no context
    init: Callable[[PRNGKey, PRNGKey, Images, Context | None], Params]  # (key, key of the noise, x, context)
    encode: Callable[[Params, PRNGKey | None, Images, Context | None], FlowElement]
    decode: Callable[[Params, Float[Array, "*lead dim"], Context | None], Images]


def image_flow(config: ConfigDict, image_shape: tuple[int, int, int]) -> ImageFlow:
    """Build the flow from section `model` of the configuration; its parameters are those of `bruno_flow`."""
    flow = bruno_flow(config, image_shape)
    dim = image_shape[0] * image_shape[1] * image_shape[2]
    context_dim = 0 if config.bruno.conditioning == "none" else CONTEXT_DIM

    def flow_context(context: Array | None, leading: tuple[int, ...]) -> Array | None:
        """Contexts [num, context_dim] of images with leading axes; None where the flow takes none."""
        if not context_dim:
            return None
        if context is None or context.shape != (*leading, context_dim):
            got = "none" if context is None else str(context.shape)
            raise ValueError(f"context: expected {(*leading, context_dim)}, got {got}. Give one context per image.")
        return context.reshape(-1, context_dim)

    def init(key: PRNGKey, noise_key: PRNGKey, x: Images, context: Context | None) -> Params:
        pixels = dequantize(noise_key, x).reshape(-1, *image_shape)
        return flow.init(key, pixels, flow_context(context, x.shape[:-3]))

    def encode(params: Params, key: PRNGKey | None, x: Images, context: Context | None = None) -> FlowElement:
        leading = x.shape[:-3]
        pixels = dequantize(key, x).reshape(-1, *image_shape)
        z, log_det = flow.forward(params, pixels, flow_context(context, leading))
        return FlowElement(z.reshape(*leading, dim), log_det.reshape(leading))

    def decode(params: Params, z: Array, context: Context | None = None) -> Array:
        leading = z.shape[:-1]
        pixels, _ = flow.inverse(params, z.reshape(-1, dim), flow_context(context, leading))
        return quantize(pixels).reshape(*leading, *image_shape)

    return ImageFlow(dim, context_dim, init, encode, decode)


def masked(values: Float[Array, "*lead set"], mask: Array | None) -> Float[Array, "*lead set"]:
    """0 where the mask is False."""
    return values if mask is None else jnp.where(mask, values, 0.0)
