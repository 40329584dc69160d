"""BRUNO: a normalizing flow on single images and an exchangeable process per latent dimension.

log p(x_1, ..., x_n) = sum_i log |det dz_i / dx_i| + log p(z_1, ..., z_n) exactly, with z_i = flow(x_i) and, for every
latent dimension, an exchangeable Gaussian or Student-t process (or, beyond the paper, one of the other `PROCESSES`).
Source: Korshunova et al. 2018, arXiv:1802.07535.

Conditional BRUNO (`model.conditioning`) has z_i = flow(x_i; h_i), where the context h_i is known of each image, such as
its view angle. It is exchangeable over pairs (x_i, h_i); the process never sees a context. Source: Korshunova et al.
2018, "Conditional BRUNO: A Deep Recurrent Process for Exchangeable Labelled Data", NeurIPS workshop on Bayesian deep
learning.
"""

from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from exflow.core import gaussian_process, low_rank_process, mixture_process, student_t_process
from exflow.core.quantization import bits_per_dim, dequantize, quantize
from exflow.model import Model, ProcessFunctions, Refit, SetFunctions
from exflow.models.bruno.conditional import CONTEXT_DIM
from exflow.models.bruno.few_shot_objective import few_shot_cross_entropy
from exflow.models.bruno.flow import bruno_flow
from exflow.typing import Batch, Loss, Params, PRNGKey, State

CORRELATIONS = 0x636F7272  # separates the draw of initial correlations from those of flow and noise
PROCESSES = {
    "gaussian": gaussian_process,
    "student_t": student_t_process,
    "mixture": mixture_process,
    "low_rank": low_rank_process,
}
WITHOUT_MOMENTS = ("raw_degrees_of_freedom", "raw_gaussian_weight")  # what a fit by moments does not estimate


class FlowElement(NamedTuple):
    """What BRUNO keeps of one image."""

    z: Float[Array, "... dim"]  # latent vector
    log_det: Float[Array, "..."]  # log |det dz/dx|, nats


def bruno(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
    """Build BRUNO from sections `model.bruno` and `objective` of the configuration.

    The loss is generative_weight times the negative log-likelihood in nats per image (`scored_log_probs` tells which
    images count and what they are given), plus discriminative_weight times the cross-entropy of few-shot episodes
    formed from the latents of the same batch, averaged over `objective.shots`.

    Args:
      config: Complete configuration.
      image_shape: Height, width and channels of the images.

    Returns:
      Model with parameters `{"flow": ..., "process": ...}`, and `"objective"` if the temperature is learned.
    """
    model, objective = config.model.bruno, config.objective
    flow = bruno_flow(config.model, image_shape)
    process = PROCESSES[model.process]
    dim = image_shape[0] * image_shape[1] * image_shape[2]
    context_dim = 0 if model.conditioning == "none" else CONTEXT_DIM

    options = {"degrees_of_freedom": model.degrees_of_freedom} if model.process in ("student_t", "mixture") else {}
    if model.process == "low_rank":
        options = {"rank": model.process_rank}

    def learned(raw: Params) -> Params:
        """Raw parameters of the process with the mean taken out of training where it is a constant."""
        return raw if model.learn_mean else {**raw, "mean": jax.lax.stop_gradient(raw["mean"])}

    def flow_context(context: Array | None, leading: tuple[int, ...]) -> Array | None:
        """Contexts [num, context_dim] of images with leading axes; None where the flow takes none."""
        if not context_dim:
            return None
        if context is None or context.shape != (*leading, context_dim):
            got = "none" if context is None else str(context.shape)
            raise ValueError(f"context: expected {(*leading, context_dim)}, got {got}. Give one context per image.")
        return context.reshape(-1, context_dim)

    def encode(params: Params, key: PRNGKey | None, x: Array, context: Array | None = None) -> FlowElement:
        leading = x.shape[:-3]
        pixels = dequantize(key, x).reshape(-1, *image_shape)
        z, log_det = flow.forward(params["flow"], pixels, flow_context(context, leading))
        return FlowElement(z.reshape(*leading, dim), log_det.reshape(leading))

    def init(key: PRNGKey, batch: Batch) -> Params:
        flow_key, noise_key = jax.random.split(key)
        pixels = dequantize(noise_key, batch.x_set).reshape(-1, *image_shape)
        start = process.init_raw(dim, variance=model.variance, correlation=model.correlation, **options)
        if model.correlation_range:
            low, high = model.correlation_range
            drawn = jax.random.uniform(jax.random.fold_in(key, CORRELATIONS), (dim,), jnp.float32, low, high)
            start["raw_correlation"] = jax.scipy.special.logit(drawn)
        context = flow_context(batch.context, batch.mask.shape)
        params = {"flow": flow.init(flow_key, pixels, context), "process": start}
        if objective.learn_temperature:
            params["objective"] = {"log_temperature": jnp.log(jnp.float32(objective.temperature))}
        return params

    def refit(params: Params, element_set: FlowElement, mask: Array) -> Params:
        fitted = process.unconstrain(process.fit(element_set.z, learn_mean=model.learn_mean, mask=mask, **options))
        kept = {name: raw for name, raw in params["process"].items() if name in WITHOUT_MOMENTS}
        return {**params, "process": fitted | kept}

    def loss(params: Params, key: PRNGKey, batch: Batch) -> Loss:
        noise_key, query_key = jax.random.split(key)
        latent = encode(params, noise_key, batch.x_set, batch.context)
        process_params = process.constrain(learned(params["process"]))
        log_probs, counted = scored_log_probs(process, process_params, latent, batch.mask, objective.num_given)
        nll = -jnp.where(counted, log_probs, 0.0).sum() / counted.sum()
        total = objective.generative_weight * nll
        metrics = {"nll": nll, "bits_per_dim": bits_per_dim(nll, dim)}
        if objective.discriminative_weight > 0:
            temperature = objective.temperature
            if objective.learn_temperature:
                temperature = jnp.exp(params["objective"]["log_temperature"])
                metrics["temperature"] = temperature
            cross_entropy, few_shot = few_shot_cross_entropy(
                process, process_params, query_key, latent.z, batch.mask, objective, temperature
            )
            total = total + objective.discriminative_weight * cross_entropy
            metrics |= few_shot
        return Loss(total, metrics)

    def constrain(params: Params) -> Params:
        return process.constrain(params["process"])

    def init_state(params: Params, batch_shape: tuple[int, ...] = ()) -> State:
        return process.init_state(constrain(params), batch_shape)

    def update(params: Params, state: State, element_set: FlowElement, mask: Array | None = None) -> State:
        return process.update_set(constrain(params), state, element_set.z, mask)

    def log_prob(params: Params, state: State, element: FlowElement, draws: int = 1) -> Array:
        del draws
        return process.predictive_log_prob(constrain(params), state, element.z) + element.log_det

    def conditional(params: Params, element_set: FlowElement, mask: Array | None = None, draws: int = 1) -> Array:
        del draws
        log_probs = process.log_prob(constrain(params), element_set.z, mask)
        return log_probs + _masked(element_set.log_det, mask)

    def leave_one_out(params: Params, element_set: FlowElement, mask: Array | None = None, draws: int = 1) -> Array:
        del draws
        log_probs = process.leave_one_out_log_prob(constrain(params), element_set.z, mask)
        return log_probs + _masked(element_set.log_det, mask)

    def joint(params: Params, element_set: FlowElement, mask: Array | None = None, draws: int = 1) -> Array:
        return conditional(params, element_set, mask, draws).sum(axis=-1)

    def class_log_probs(params: Params, states: State, elements: FlowElement, draws: int = 1) -> Array:
        del draws
        log_probs = process.class_log_probs(constrain(params), states, elements.z)
        return log_probs + elements.log_det[..., None]

    def decode(params: Params, z: Array, context: Array | None = None) -> Array:
        leading = z.shape[:-1]
        pixels, _ = flow.inverse(params["flow"], z.reshape(-1, dim), flow_context(context, leading))
        return quantize(pixels).reshape(*leading, *image_shape)

    def sample(
        params: Params,
        state: State,
        key: PRNGKey,
        num_samples: int,
        coherent: bool = False,
        context: Array | None = None,
    ) -> Array:
        draw = process.sample_joint if coherent else process.sample
        return decode(params, draw(constrain(params), state, key, num_samples), context)

    conditioning = f", {model.conditioning} conditioning" if context_dim else ""
    return Model(
        name=f"bruno ({model.process} process{conditioning})",
        image_shape=image_shape,
        init=init,
        loss=loss,
        encode=encode,
        context_dim=context_dim,
        group_of=group_of,
        sets=SetFunctions(
            exact=True,
            init_state=init_state,
            update=update,
            remove=lambda params, state, element: process.remove(constrain(params), state, element.z),
            merge=lambda params, a, b: process.merge(constrain(params), a, b),
            log_prob=log_prob,
            joint=joint,
            conditional=conditional,
            leave_one_out=leave_one_out,
            class_log_probs=class_log_probs,
            sample=sample,
            num_given=objective.num_given,
        ),
        process=ProcessFunctions(
            predictive=lambda params, state: process.predictive(constrain(params), state),
            decode=decode,
            refit=Refit(
                refit,
                at_start=model.process_init == "empirical",
                every=model.process_refresh_every,
                num_batches=model.process_init_batches,
            ),
        ),
    )


def group_of(name: str) -> str:
    """Optimiser group of a top-level parameter: the temperature is trained like the process."""
    return {"process": "process", "objective": "process"}.get(name, "main")


def scored_log_probs(
    process: ModuleType,
    process_params: Params,
    latent: FlowElement,
    mask: Bool[Array, "batch set"],
    num_given: int,
) -> tuple[Float[Array, "batch scored"], Bool[Array, "batch scored"]]:
    """Log-densities of the images that count, in nats.

    Args:
      process: A module of exchangeable processes.
      process_params: Its parameters.
      latent: Of sets of images, leading axes [batch, set].
      mask: True for images that exist.
      num_given: 0: log p(x_n | x_<n) of every image. k: the first k images are given, and every other image counts
        with its density given those k alone (the objective of Conditional BRUNO, k = 1).

    Returns:
      Log-densities, and which of them are of images that exist.
    """
    if num_given == 0:
        return process.log_prob(process_params, latent.z, mask) + latent.log_det, mask
    empty = process.init_state(process_params, mask.shape[:1])
    state = process.update_set(process_params, empty, latent.z[:, :num_given], mask[:, :num_given])
    state = jax.tree.map(lambda leaf: leaf[:, None], state)
    log_probs = process.predictive_log_prob(process_params, state, latent.z[:, num_given:])
    return log_probs + latent.log_det[:, num_given:], mask[:, num_given:]


def _masked(values: Array, mask: Array | None) -> Array:
    return values if mask is None else jnp.where(mask, values, 0.0)
