"""Data-free values of the specification (9.1 item 6): identity flow on constant images with dequantisation noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.core import gaussian_process, student_t_process
from exflow.core.bijectors.affine import scale
from exflow.core.bijectors.bijector import chain
from exflow.core.bijectors.logit import logit
from exflow.core.quantization import dequantize
from tests.core.registry import COMPILED

SETS, SIZE, PIXELS = 40, 20, 784

# nats per pixel: mean over the 20 elements, first, last
PUBLISHED = {
    (0, "gaussian_process"): (7.77, 21.77, 2.79),
    (255, "gaussian_process"): (7.77, 21.77, 2.79),
    (128, "gaussian_process"): (5.054, 5.08, 5.04),
    (0, "student_t_process"): (6.88, 21.32, 2.27),
    (255, "student_t_process"): (6.88, 21.32, 2.27),
    (128, "student_t_process"): (5.049, 5.08, 5.03),
}


@pytest.mark.parametrize(("pixel", "name"), PUBLISHED)
def test_constant_images(pixel, name):
    """Within rounding of the published digits and 5 standard errors of this sample."""
    module = {"gaussian_process": gaussian_process, "student_t_process": student_t_process}[name]
    params = COMPILED[name].constrain(module.init_raw(PIXELS))  # v = 1, correlation 0.1, nu = 1000
    x = dequantize(jax.random.key(0), jnp.full((SETS * SIZE, PIXELS), pixel, jnp.uint8))
    flow = chain(scale(1 / 256), logit(1e-5))
    z, log_det = jax.jit(flow.forward)(flow.init(jax.random.key(1), x), x)
    if pixel == 0:
        assert abs(float(z.mean()) + 6.532) < 0.01
        assert abs(float(z.std()) - 0.970) < 0.01
    log_probs = COMPILED[name].log_prob(params, z.reshape(SETS, SIZE, PIXELS)) + log_det.reshape(SETS, SIZE)
    nats = -np.float64(log_probs) / PIXELS
    for values, expected in zip((nats.mean(axis=1), nats[:, 0], nats[:, -1]), PUBLISHED[pixel, name], strict=True):
        gate = 0.006 + 5 * values.std() / np.sqrt(SETS)
        assert abs(values.mean() - expected) < gate, f"{values.mean()} against {expected} +- {gate}"
