"""A model whose evidence is known: x = z W + noise in five dimensions, z of two, and a posterior that is too wide."""

import jax.numpy as jnp
import numpy as np
from scipy.stats import multivariate_normal

from exflow.core.latents import diagonal_gaussian, trace
from exflow.core.latents.diagonal_gaussian import DiagonalGaussian
from exflow.core.latents.elements import EncodedElement
from exflow.core.latents.seeds import content_seeds
from exflow.core.likelihoods.likelihood import likelihood
from exflow.model import LatentFunctions, Model
from exflow.models.independent_sets import sets_from_latents

DIM, LATENT_DIM, SHAPE = 5, 2, (1, 1, 5)
LOG_VARIANCE = -1.0  # of the noise
WORK_BYTES = 2**14


def linear_gaussian() -> Model:
    """The model, with parameters in the groups "generator" and "inference"."""
    law = likelihood("gaussian")

    def encode_values(params, values):
        mean = values.reshape(*values.shape[:-3], DIM) @ params["inference"]["weight"]
        log_variance = jnp.broadcast_to(
            params["inference"]["log_variance"].reshape((1,) * (mean.ndim - 1) + (LATENT_DIM,)), mean.shape
        )
        seeds = content_seeds(values.reshape(-1, DIM)).reshape(values.shape[:-3])
        return EncodedElement(DiagonalGaussian(mean, log_variance), values, seeds)

    def top_down(params, noise, shape, q):
        p = diagonal_gaussian.standard((*shape, LATENT_DIM))
        z = trace.draw(noise, q or p, 0, trace.EXAMPLE)
        drawn = trace.TopDown((trace.Level(None, trace.Latent(z, p, q)),), z, None)
        return drawn, decode(params, drawn, None)

    def decode(params, drawn, mask):
        mean = drawn.example_inputs @ params["generator"]["weight"]
        outputs = jnp.concatenate([mean, jnp.full_like(mean, LOG_VARIANCE)], axis=-1)
        return outputs.reshape(*mean.shape[:-1], 1, 1, 2 * DIM)

    def infer(params, element_set, mask, key, set_latents=None, means=(), num_levels=None):
        return top_down(params, trace.Noise(key, element_set.seed, mask, means), mask.shape, element_set.features)

    def generate(params, key, shape, set_latents=None, means=(), num_levels=None):
        return top_down(params, trace.Noise(key, means=means), shape, None)

    def encode(params, key, x, context=None):
        return encode_values(params, law.to_values(key, x))

    latents = LatentFunctions(law, encode_values, infer, generate, decode, lambda params, state: [], 0)
    return Model(
        "linear Gaussian",
        SHAPE,
        lambda key, batch: parameters(),
        lambda params, key, batch: None,
        encode,
        value_dtype="float32",
        group_of=lambda name: name,
        sets=sets_from_latents(latents, work_bytes=WORK_BYTES),
        latents=latents,
    )


def posterior(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a weight with orthogonal rows, z | x ~ N(x matrix, diag(variance)): matrix [5, 2] and variance [2]."""
    variance = 1 / (1 + (weight**2).sum(axis=1) / np.exp(LOG_VARIANCE))
    return weight.T * variance / np.exp(LOG_VARIANCE), variance


def divergence(values: np.ndarray) -> float:
    """From the given posterior to the exact one, mean over vectors."""
    matrix, variance = posterior(parameters()["generator"]["weight"].astype(np.float64))
    given = {name: part.astype(np.float64) for name, part in parameters()["inference"].items()}
    ratio = np.exp(given["log_variance"]) / variance
    shift = (values.reshape(-1, DIM) @ (given["weight"] - matrix)) ** 2 / variance
    return float((0.5 * (ratio - 1 - np.log(ratio) + shift)).sum(axis=1).mean())


def parameters():
    """The given posterior has means that are a tenth too small, and is 2.5 times too wide."""
    weight = np.linalg.qr(np.random.default_rng(1).normal(size=(DIM, LATENT_DIM)))[0].T * [[1.2], [0.8]]
    matrix, variance = posterior(weight)
    inference = {"weight": 0.9 * matrix, "log_variance": np.log(2.5 * variance)}
    return {
        "generator": {"weight": weight.astype(np.float32)},
        "inference": {name: part.astype(np.float32) for name, part in inference.items()},
    }


def data(number: int) -> np.ndarray:
    """Vectors that the model draws, as sets of one, [number, 1, 1, 1, 5]."""
    rng = np.random.default_rng(2)
    z = rng.normal(size=(number, LATENT_DIM))
    x = z @ parameters()["generator"]["weight"] + np.exp(0.5 * LOG_VARIANCE) * rng.normal(size=(number, DIM))
    return x.astype(np.float32).reshape(number, 1, *SHAPE)


def log_evidence(values: np.ndarray) -> np.ndarray:
    """ln p(x) of every vector, in float64."""
    weight = parameters()["generator"]["weight"].astype(np.float64)
    covariance = weight.T @ weight + np.exp(LOG_VARIANCE) * np.eye(DIM)
    return multivariate_normal(np.zeros(DIM), covariance).logpdf(values.reshape(-1, DIM))
