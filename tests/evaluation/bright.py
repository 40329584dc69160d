"""A model of 2x2 pictures whose code says which pixels are bright, with made-up training codes."""

import jax.numpy as jnp
import numpy as np

from exflow.model import CodeFunctions, FittedCodes, Model, Sampler, TrainingCodes
from exflow.models.lbae.sampler import DENSITIES, draw_bits, fit_bits, log_prob_of_bits
from exflow.models.lbae.sampler import complete_bits as complete
from exflow.models.lbae.sampler import interpolate_bits as interpolate

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 400)
LEFT = RNG.random(400) < 0.5
SHARES = [0.2 + 0.6 * LABELS, 0.8 - 0.6 * LABELS, np.full(400, 0.5), 0.1 + 0.8 * LEFT]
CODES = RNG.random((400, 4)) < np.stack(SHARES, axis=1)
TRAINING = TrainingCodes(CODES, LABELS, LEFT[:, None], ("left",))


def _encode(params, x):
    return (x >= 128).reshape(*x.shape[:-3], 4)


def _decode(params, bits):
    return jnp.where(bits, 255, 0).astype(jnp.uint8).reshape(*bits.shape[:-1], 2, 2, 1)


def bright_model() -> Model:
    """The model; its decoder has two grey values, so that the distortion of other images is known."""
    return Model(
        name="bright",
        image_shape=(2, 2, 1),
        init=None,
        loss=None,
        encode=lambda params, key, x, context=None: _encode(params, x),
        codes=CodeFunctions(4, _encode, _decode, True, lambda params, x: x.sum(axis=(-3, -2, -1)) / 255.0, "grey"),
        sampler=Sampler(
            ("threshold", "cov", *DENSITIES), fit_bits, draw_bits, interpolate, complete, DENSITIES, log_prob_of_bits
        ),
    )


def fitted_codes() -> FittedCodes:
    """Fits to the made-up codes, each made when it is first asked for."""
    fits: dict = {}

    def by(method):
        method = method or "threshold"
        if method not in fits:
            fits[method] = fit_bits(CODES, method)
        return fits[method]

    return FittedCodes(by, lambda: TRAINING)
