"""From configuration rows to networks: every set VAE is one encoder, one hierarchy and one decoder.

| model | hierarchy | set_latent_levels | aggregation | film |
|---|---|---|---|---|
| VAE | vector | none | | |
| NS, NS-LAG | vector | top | mean, attention | |
| HFSGM, HFSGM-LAG | vector | all | mean, attention | no, yes |
| CNS, CNS-LAG | map | top | mean, attention | |
| CHFSGM, CHFSGM-LAG | map | all | mean, attention | |
| SCHA-VAE, SCHA-VAE-LAG | stream | | mean, attention | |

The flat models on vectors are the Neural Statistician's experiments on synthetic and spatial data.
"""

from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from exflow.core.likelihoods.likelihood import Likelihood
from exflow.errors import UserError
from exflow.models.set_vae.networks.autoencoder import SetAutoencoder
from exflow.models.set_vae.networks.blocks import BlockStyle
from exflow.models.set_vae.networks.decoder import BASE, ImageDecoder, VectorDecoder
from exflow.models.set_vae.networks.direct_hierarchy import DirectHierarchy
from exflow.models.set_vae.networks.encoder import ConvEncoder, VectorEncoder
from exflow.models.set_vae.networks.pyramid_encoder import PyramidEncoder
from exflow.models.set_vae.networks.stream_decoder import StreamDecoder
from exflow.models.set_vae.networks.stream_hierarchy import StreamHierarchy
from exflow.models.set_vae.networks.stream_layout import per_block

IMAGE_SIZES = (28, 32, 64)


def set_autoencoder(
    options: ConfigDict,
    likelihood: Likelihood,
    image_shape: tuple[int, int, int],
    compute_dtype: str = "float32",
    block_loop: str = "auto",
) -> SetAutoencoder:
    """Build the networks.

    Args:
      options: Section `model.set_vae` of the configuration.
      likelihood: Of an element.
      image_shape: Height, width and channels; (1, 1, D) for vectors.
      compute_dtype: "float32", or "bfloat16" for the hidden layers of encoder, decoder and residual blocks.
      block_loop: How equal levels and blocks are computed: "scan", "unroll" or "auto", see `exflow.nn.repeated`.

    Returns:
      Module with `encode`, `top_down` and `decode`.

    Raises:
      UserError: Networks of these options do not exist for such images.
    """
    height, width, channels = image_shape
    vectors = height == width == 1
    if not vectors and (height != width or height not in IMAGE_SIZES):
        raise UserError(
            f"config.model.set_vae: expected images of {', '.join(f'{s}x{s}' for s in IMAGE_SIZES)}, "
            f"got {height}x{width}. Set --config.data.image_size=28."
        )
    num_outputs = likelihood.num_outputs(channels)
    dtype = jnp.bfloat16 if compute_dtype == "bfloat16" else None
    if options.hierarchy == "stream":
        return _stream(options, vectors, height, num_outputs, dtype, block_loop)
    maps = options.hierarchy == "map"
    if vectors and (maps or likelihood.name != "gaussian"):
        raise UserError(
            "config.model.set_vae: vectors need hierarchy=vector and likelihood=gaussian, "
            f"got {options.hierarchy} and {likelihood.name}."
        )
    style = BlockStyle(
        options.hidden,
        maps,
        options.normalization,
        options.head_normalization or ("batch" if maps else "global_batch"),
        options.activation,
        options.block_depth,
        options.num_blocks,
        options.initialization,
        options.unused_parameters,
        options.log_variance_bound,
        dtype,
    )
    hierarchy = DirectHierarchy(
        style=style,
        num_levels=options.num_levels,
        set_latent_levels=options.set_latent_levels,
        set_latent_dim=options.set_latent_dim,
        latent_dim=options.latent_dim,
        aggregation=options.aggregation,
        prior_aggregation=options.prior_aggregation,
        film=options.film,
        residual_post_pool=maps or vectors,
        residual_posteriors=options.residual_posteriors,
        map_size=(BASE, BASE) if maps else (),
    )
    set_latents = max(num_set_latents(options), 1)  # that of the unused weights where there are none
    if vectors:
        decoder = VectorDecoder(style, channels, set_latents * options.set_latent_dim, options.shared_variance)
        return SetAutoencoder(VectorEncoder(style), hierarchy, decoder)
    decoder = ImageDecoder(style, height, num_outputs, set_latents * options.set_latent_dim, options.encoder_filters)
    return SetAutoencoder(ConvEncoder(style, options.encoder_filters, options.raw_elements), hierarchy, decoder)


def num_set_latents(options: ConfigDict) -> int:
    """Latents of the set that a model of these options has; 0 for a VAE."""
    if options.hierarchy == "stream":
        return len(per_block(options.levels))
    return {"none": 0, "top": 1, "all": options.num_levels}[options.set_latent_levels]


def _stream(
    options: ConfigDict, vectors: bool, image_size: int, num_outputs: int, dtype: Any, block_loop: str
) -> SetAutoencoder:
    try:
        encoder, levels, decoder = (per_block(options[key]) for key in ("encoder_blocks", "levels", "decoder_blocks"))
    except ValueError as error:
        raise UserError(f"config.model.set_vae: {error}") from error
    if vectors:
        raise UserError("config.model.set_vae.hierarchy: stream needs images. Use hierarchy=vector.")
    if image_size > 32:
        raise UserError(
            f"config.model.set_vae.hierarchy: stream needs images of 28x28 or 32x32, got {image_size}x{image_size}. "
            "Set --config.data.image_size=32."
        )
    if not set(levels) <= set(encoder):
        raise UserError(
            f"config.model.set_vae.levels: resolutions {sorted(set(levels) - set(encoder))} are not among those of "
            f"encoder_blocks, {sorted(set(encoder))}. Use the same resolutions."
        )
    hierarchy = StreamHierarchy(
        width=options.hidden,
        levels=levels[::-1],
        set_latent_dim=options.set_latent_dim,
        latent_dim=options.latent_dim,
        aggregation=options.aggregation,
        examples_to_set_latents=options.examples_to_set_latents,
        residual_posteriors=options.residual_posteriors,
        log_variance_bound=options.log_variance_bound,
        level_loop=block_loop,
    )
    computed = {"block_loop": block_loop, "compute_dtype": dtype}
    outputs = StreamDecoder(
        options.hidden, decoder[::-1], image_size, num_outputs, options.decoder_set_stream, **computed
    )
    return SetAutoencoder(PyramidEncoder(options.hidden, encoder, levels, **computed), hierarchy, outputs)
