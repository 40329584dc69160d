"""BRUNO: a normalizing flow on single images and an exchangeable process per latent dimension.

log p(x_1, ..., x_n) = sum_i log |det dz_i / dx_i| + log p(z_1, ..., z_n) exactly, with z_i = flow(x_i) and, for every
latent dimension, an exchangeable Gaussian or Student-t process. Source: Korshunova et al. 2018, arXiv:1802.07535.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from exflow.core import gaussian_process, student_t_process
from exflow.core.quantization import bits_per_dim, dequantize, quantize
from exflow.models.bruno_flow import bruno_flow
from exflow.models.few_shot_objective import few_shot_cross_entropy
from exflow.typing import Batch, Params, PRNGKey, SetModel, State

PROCESSES = {"gaussian": gaussian_process, "student_t": student_t_process}


class Latent(NamedTuple):
    """What BRUNO keeps of one image."""

    z: Float[Array, "... dim"]  # latent vector
    log_det: Float[Array, "..."]  # log |det dz/dx|, nats


def bruno(config: ConfigDict, image_shape: tuple[int, int, int]) -> SetModel:
    """Build BRUNO from sections `model` and `objective` of the configuration.

    The loss is generative_weight times the negative log-likelihood in nats per image, plus discriminative_weight times
    the cross-entropy of few-shot episodes formed from the latents of the same batch, averaged over `objective.shots`.

    Args:
      config: Complete configuration.
      image_shape: Height, width and channels of the images.

    Returns:
      Model with parameters `{"flow": ..., "process": ...}`, and `"objective"` if the temperature is learned.
    """
    model, objective = config.model, config.objective
    flow = bruno_flow(model, image_shape)
    process = PROCESSES[model.process]
    dim = image_shape[0] * image_shape[1] * image_shape[2]

    tails = {"degrees_of_freedom": model.degrees_of_freedom} if model.process == "student_t" else {}

    def learned(raw: Params) -> Params:
        """Raw parameters of the process with the mean taken out of training where it is a constant."""
        return raw if model.learn_mean else {**raw, "mean": jax.lax.stop_gradient(raw["mean"])}

    def encode(params: Params, key: PRNGKey | None, x: Array) -> Latent:
        leading = x.shape[:-3]
        pixels = dequantize(key, x).reshape(-1, *image_shape)
        z, log_det = flow.forward(params["flow"], pixels)
        return Latent(z.reshape(*leading, dim), log_det.reshape(leading))

    def init(key: PRNGKey, batch: Batch) -> Params:
        flow_key, noise_key = jax.random.split(key)
        first = batch.x_set[: config.data.sets_per_batch]
        pixels = dequantize(noise_key, first).reshape(-1, *image_shape)
        start = process.init_raw(dim, variance=model.variance, correlation=model.correlation, **tails)
        params = {"flow": flow.init(flow_key, pixels), "process": start}
        if objective.learn_temperature:
            params["objective"] = {"log_temperature": jnp.log(jnp.float32(objective.temperature))}
        if model.process_init == "constant":
            return params
        keys = jax.random.split(noise_key, batch.x_set.shape[0])
        z_set = jax.lax.map(lambda inputs: encode(params, *inputs).z, (keys, batch.x_set))
        fitted = process.fit(z_set, learn_mean=model.learn_mean, **tails)
        return {**params, "process": process.unconstrain(fitted)}

    def loss(params: Params, key: PRNGKey, batch: Batch) -> tuple[Array, dict[str, Array]]:
        latent = encode(params, key, batch.x_set)
        process_params = process.constrain(learned(params["process"]))
        log_probs = process.log_prob(process_params, latent.z, batch.mask)
        log_probs = jnp.where(batch.mask, log_probs + latent.log_det, 0.0)
        nll = -log_probs.sum() / batch.mask.sum()
        total = objective.generative_weight * nll
        metrics = {"nll": nll, "bits_per_dim": bits_per_dim(nll, dim)}
        if objective.discriminative_weight > 0:
            temperature = objective.temperature
            if objective.learn_temperature:
                temperature = jnp.exp(params["objective"]["log_temperature"])
                metrics["temperature"] = temperature
            cross_entropy, few_shot = few_shot_cross_entropy(
                process, process_params, latent.z, batch.mask, objective, temperature
            )
            total = total + objective.discriminative_weight * cross_entropy
            metrics |= few_shot
        return total, metrics

    def constrain(params: Params) -> Params:
        return process.constrain(params["process"])

    def log_prob(params: Params, state: State, element: Latent) -> Array:
        return process.predictive_log_prob(constrain(params), state, element.z) + element.log_det

    def conditional_log_probs(params: Params, element_set: Latent, mask: Array | None = None) -> Array:
        log_probs = process.log_prob(constrain(params), element_set.z, mask)
        return log_probs + _masked(element_set.log_det, mask)

    def leave_one_out_log_probs(params: Params, element_set: Latent, mask: Array | None = None) -> Array:
        log_probs = process.leave_one_out_log_prob(constrain(params), element_set.z, mask)
        return log_probs + _masked(element_set.log_det, mask)

    def class_log_probs(params: Params, states: State, elements: Latent) -> Array:
        log_probs = process.class_log_probs(constrain(params), states, elements.z)
        return log_probs + elements.log_det[..., None]

    def sample(params: Params, state: State, key: PRNGKey, num_samples: int, coherent: bool = False) -> Array:
        draw = process.sample_joint if coherent else process.sample
        z = draw(constrain(params), state, key, num_samples)
        pixels, _ = flow.inverse(params["flow"], z.reshape(-1, dim))
        return quantize(pixels).reshape(*z.shape[:-1], *image_shape)

    return SetModel(
        name=f"bruno ({model.process} process)",
        image_shape=image_shape,
        init=init,
        loss=loss,
        encode=encode,
        init_state=lambda params, batch_shape=(): process.init_state(constrain(params), batch_shape),
        update=lambda params, state, element_set, mask=None: process.update_set(
            constrain(params), state, element_set.z, mask
        ),
        log_prob=log_prob,
        conditional_log_probs=conditional_log_probs,
        leave_one_out_log_probs=leave_one_out_log_probs,
        class_log_probs=class_log_probs,
        sample=sample,
    )


def _masked(values: Array, mask: Array | None) -> Array:
    return values if mask is None else jnp.where(mask, values, 0.0)
