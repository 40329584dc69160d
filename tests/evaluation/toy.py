"""A set model small enough to check with pencil and paper: affine pixels, one exchangeable Gaussian per dimension."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from exflow.core.gaussian_process import GaussianPredictive
from exflow.core.process import Marginals
from exflow.model import Model, ProcessFunctions, Refit, SetFunctions
from exflow.typing import Loss


class ToyElement(NamedTuple):
    z: Array  # [..., dim]
    log_det: Array  # [...]


class ToyState(NamedTuple):
    count: Array  # [...]
    total: Array  # [..., dim], sum of the centred latents


def toy_params(
    dim: int, variance: float = 1.0, covariance: float = 0.6, mean: float = 0.0, factor: float = 1.0
) -> dict:
    """Parameters with the top level keys of real models; z = (pixel - 128) / 64 * factor."""

    def full(value: float) -> Array:
        return jnp.full((dim,), value, jnp.float32)

    process = {"mean": full(mean), "variance": full(variance), "covariance": full(covariance)}
    return {"flow": {"factor": jnp.float32(factor)}, "process": process}


def toy_model(image_shape: tuple[int, int, int] = (2, 2, 1)) -> Model:
    """Toy model; every function follows the contract of `exflow.model.Model`."""
    dim = int(np.prod(image_shape))

    def field(params, name, ndim):
        return params["process"][name].reshape((1,) * (ndim - 1) + (dim,))

    def moments(params, count, total):
        mean, variance, covariance = (field(params, name, total.ndim) for name in ("mean", "variance", "covariance"))
        noise = variance - covariance
        weight = covariance / (noise + count[..., None] * covariance)
        return mean + weight * total, noise * (1 + weight)

    def normal(mean, variance, element):
        terms = -0.5 * (jnp.log(2 * jnp.pi * variance) + (element.z - mean) ** 2 / variance)
        return terms.sum(-1) + element.log_det

    def encode(params, key, x: UInt8[Array, "..."], context=None):
        noise = 0.5 if key is None else jax.random.uniform(key, x.shape)
        scale = 4 * params["flow"]["factor"] / 256
        z = (x.astype(jnp.float32) + noise - 128) * scale
        z = z.reshape(x.shape[:-3] + (dim,))
        return ToyElement(z, jnp.broadcast_to(dim * jnp.log(scale), z.shape[:-1]))

    def init_state(params, batch_shape=()):
        total = jnp.zeros_like(params["process"]["mean"])  # on the devices of the parameters
        return ToyState(total.sum(), total)

    def update(params, state, element_set, mask=None):
        centred = element_set.z - field(params, "mean", element_set.z.ndim)
        weight = jnp.ones(centred.shape[:-1]) if mask is None else mask.astype(jnp.float32)
        total = jnp.where(weight[..., None] > 0, centred, 0.0).sum(-2)
        return ToyState(state.count + weight.sum(-1), state.total + total)

    def log_prob(params, state, element, draws=1):
        return normal(*moments(params, state.count, state.total), element)

    def prefixes(params, element_set, mask):
        centred = element_set.z - field(params, "mean", element_set.z.ndim)
        seen = jnp.ones(centred.shape[:-1]) if mask is None else mask.astype(jnp.float32)
        centred = jnp.where(seen[..., None] > 0, centred, 0.0)
        return seen, centred, jnp.cumsum(seen, -1) - seen, jnp.cumsum(centred, -2) - centred

    def conditional(params, element_set, mask=None, draws=1) -> Float[Array, "..."]:
        seen, _, count, total = prefixes(params, element_set, mask)
        return jnp.where(seen > 0, normal(*moments(params, count, total), element_set), 0.0)

    def leave_one_out(params, element_set, mask=None, draws=1):
        seen, centred, _, _ = prefixes(params, element_set, mask)
        count, total = seen.sum(-1, keepdims=True) - seen, centred.sum(-2, keepdims=True) - centred
        return jnp.where(seen > 0, normal(*moments(params, count, total), element_set), 0.0)

    def class_log_probs(params, states, elements, draws=1):
        mean, variance = moments(params, states.count, states.total)
        linear = jnp.einsum("...qd,...kd->...qk", elements.z, mean / variance)
        square = jnp.einsum("...qd,...kd->...qk", elements.z**2, 1 / variance)
        constant = (jnp.log(2 * jnp.pi * variance) + mean**2 / variance).sum(-1)
        return linear - 0.5 * (square + constant[..., None, :]) + elements.log_det[..., None]

    def sample(params, state, key, num_samples, coherent=False, context=None):
        mean, variance = moments(params, state.count, state.total)
        mean, variance = (jnp.broadcast_to(a, state.total.shape) for a in (mean, variance))
        noise = field(params, "variance", mean.ndim) - field(params, "covariance", mean.ndim)
        theta_key, key = jax.random.split(key)
        if coherent:
            mean = mean + jnp.sqrt(variance - noise) * jax.random.normal(theta_key, mean.shape)
            variance = jnp.broadcast_to(noise, mean.shape)
        z = mean[None] + jnp.sqrt(variance)[None] * jax.random.normal(key, (num_samples, *mean.shape))
        x = jnp.floor(z / (4 * params["flow"]["factor"] / 256) + 128)
        return jnp.clip(x, 0, 255).astype(jnp.uint8).reshape(z.shape[:-1] + image_shape)

    def init(key, batch):
        del key, batch
        return toy_params(dim)

    def loss(params, key, batch):
        element = encode(params, key, batch.x_set)
        log_probs = conditional(params, element, batch.mask)
        value = -log_probs.sum() / batch.mask.sum()
        return Loss(value, {"nll": value})

    def process_group(name):
        return "process" if name == "process" else "main"

    return Model(
        name="toy",
        image_shape=image_shape,
        init=init,
        loss=loss,
        encode=encode,
        group_of=process_group,
        sets=SetFunctions(
            exact=True,
            init_state=init_state,
            update=update,
            remove=lambda params, state, element: ToyState(
                state.count - 1, state.total - (element.z - field(params, "mean", element.z.ndim))
            ),
            merge=lambda params, a, b: ToyState(a.count + b.count, a.total + b.total),
            log_prob=log_prob,
            joint=lambda params, element_set, mask=None, draws=1: conditional(params, element_set, mask).sum(-1),
            conditional=conditional,
            leave_one_out=leave_one_out,
            class_log_probs=class_log_probs,
            sample=sample,
        ),
        process=ProcessFunctions(
            predictive=lambda params, state: GaussianPredictive(*moments(params, state.count, state.total)),
            decode=lambda params, z, context=None: jnp.zeros((*z.shape[:-1], *image_shape), jnp.uint8),
            refit=Refit(lambda params, element_set, mask: params, False, 0, 1),
            parameters=parameters,
            restrict=restrict,
        ),
    )


def parameters(params):
    """The process as it is given."""
    mean, variance, covariance = (params["process"][name] for name in ("mean", "variance", "covariance"))
    return Marginals(mean, variance, covariance / variance)


def restrict(params, elements, keep):
    """The model of some dimensions."""
    process = {name: leaf[keep] for name, leaf in params["process"].items()}
    return {**params, "process": process}, elements._replace(z=elements.z[..., keep])
