"""What the autoencoder is trained on: how far images are from what is decoded, and the latents' own terms."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from exflow.core.likelihoods.likelihood import likelihood
from exflow.models.lbae.networks.autoencoder import Autoencoder
from exflow.models.lbae.networks.layers import Maps
from exflow.typing import Batch, Loss, Params, PRNGKey

UNITS = {"cross_entropy": "nats", "squared_error": "(pixel/255)^2"}


def pixels(x: Array) -> Array:
    """uint8 pixels as numbers in [0, 1]."""
    return x.astype(jnp.float32) / 255.0


def distortion(kind: str, outputs: Maps, values: Maps) -> Float[Array, " batch"]:
    """How far decoded images are from the pixels, summed over an image.

    Args:
      kind: "cross_entropy" -x ln s - (1 - x) ln(1 - s) of grey pixels x with s = sigmoid(output), nats; its least value
        is the entropy of the pixels and not 0. "squared_error" (x - s)^2.
      outputs: Before the sigmoid.
      values: Pixels in [0, 1].
    """
    if kind == "cross_entropy":
        return -likelihood("bernoulli").log_prob(outputs, values)
    return ((jax.nn.sigmoid(outputs) - values) ** 2).sum(axis=(-3, -2, -1))


def variables(params: Params) -> dict[str, Any]:
    """Parameters of the model as variables of the module."""
    own = {name: value for name, value in params.items() if name != "statistics"}
    return {"params": own, "batch_stats": params["statistics"]}


def training_loss(network: Autoencoder, options: ConfigDict) -> Any:
    """The loss of section `objective`: distortion + kl_weight KL / latent_dim + code_weight |z|^2 / 2, per image.

    Its metrics are `reconstruction` (the distortion), of bits and rounded numbers `quantization_error`, the mean of
    |soft - code|, of bits `unbalanced_bits`, the fraction of the bits that 99 of 100 images of the batch share, and of
    Gaussian latents `kl` in nats.
    """
    plan = network.plan

    def loss(params: Params, key: PRNGKey, batch: Batch) -> Loss:
        x, mask = batch.x_set.reshape(-1, *plan.image_shape), batch.mask.reshape(-1)
        values = jnp.where(mask[:, None, None, None], pixels(x), 0.0)
        (outputs, latent), updated = network.apply(variables(params), values, mask, key, True, mutable=["batch_stats"])

        def mean(per_image: Array) -> Array:
            return jnp.where(mask, per_image, 0.0).sum() / mask.sum()

        error = mean(distortion(options.distortion, outputs, values))
        value, metrics = error, {"reconstruction": error}
        if plan.latent in ("bits", "rounded"):
            metrics["quantization_error"] = mean(jnp.abs(latent.soft - latent.code).mean(axis=-1))
        if plan.latent == "bits":
            mean_bit = jnp.where(mask[:, None], latent.code, 0.0).sum(axis=0) / mask.sum()
            metrics["unbalanced_bits"] = (jnp.abs(mean_bit) >= 0.98).mean()
        if plan.latent == "gaussian":
            metrics["kl"] = mean(latent.kl)
            value = value + options.kl_weight / plan.latent_dim * metrics["kl"]
        if options.code_weight:
            value = value + options.code_weight * mean(0.5 * (latent.code**2).sum(axis=-1))
        return Loss(value, metrics, dict(updated)["batch_stats"])

    return loss
