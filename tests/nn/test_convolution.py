"""Values and gradients of the convolution against scipy and against XLA's own gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from exflow.nn import convolution as module
from exflow.nn.convolution import GRADIENTS, convolution, fastest_gradient, resolve_gradient, same_convolution

WRITTEN = tuple(gradient for gradient in GRADIENTS if gradient != "plain")
# Height and width, those of the kernel, stride, padding: odd and even sizes, pictures that the steps do not fill
CASES = {
    "same": ((6, 5), (3, 3), 1, (1, 1)),
    "wide": ((6, 5), (5, 3), 1, (2, 1)),
    "without padding": ((7, 7), (3, 3), 1, (0, 0)),
    "growing": ((4, 4), (3, 3), 1, (2, 2)),
    "halving": ((8, 6), (3, 3), 2, (1, 1)),
    "halving an odd picture": ((7, 9), (3, 3), 2, (1, 1)),
    "even kernel": ((8, 8), (2, 4), 2, (0, 1)),
    "steps of three": ((10, 11), (5, 3), 3, (2, 0)),
    "steps over pixels": ((6, 6), (1, 1), 2, (0, 0)),
}


@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3), (5, 3)])
def test_values_equal_scipy(x64, kernel_size):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 7, 6, 3))
    kernel = generator.normal(size=(*kernel_size, 3, 4))
    expected = np.zeros((2, 7, 6, 4))
    for image, channel_in, channel_out in np.ndindex(2, 3, 4):
        expected[image, :, :, channel_out] += scipy.signal.correlate2d(
            x[image, :, :, channel_in], kernel[:, :, channel_in, channel_out], mode="same"
        )
    for gradient in GRADIENTS:
        actual = same_convolution(jnp.asarray(x), jnp.asarray(kernel), gradient)
        np.testing.assert_allclose(actual, expected, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_gradients_agree(x64, monkeypatch, case):
    size, kernel_size, stride, padding = CASES[case]
    monkeypatch.setattr(module, "LEAST_IMAGES", 2)  # two slices of the batch
    generator = np.random.default_rng(1)
    x, kernel = generator.normal(size=(4, *size, 3)), generator.normal(size=(*kernel_size, 3, 2))
    probe = jax.eval_shape(lambda x, k: convolution(x, k, stride, padding), x, kernel)
    dy = generator.normal(size=probe.shape)

    @jax.jit
    def gradients(x, kernel, dy):
        return {
            name: jax.vjp(lambda x, k, name=name: convolution(x, k, stride, padding, name), x, kernel)[1](dy)
            for name in GRADIENTS
        }

    found = gradients(x, kernel, dy)
    for name in WRITTEN:
        for actual, expected in zip(found[name], found["plain"], strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


def test_gradients_agree_inside_a_loop(x64):
    generator = np.random.default_rng(2)
    x, kernels = jnp.asarray(generator.normal(size=(2, 5, 4, 3))), jnp.asarray(generator.normal(size=(2, 3, 3, 3, 3)))

    def looped(name):
        def loss(x, kernels):
            return (
                jax.lax.scan(lambda x, kernel: (jnp.sin(same_convolution(x, kernel, name)), None), x, kernels)[0]
            ).sum()

        return jax.grad(loss, argnums=(0, 1))

    def unrolled(x, kernels):
        return jnp.sin(same_convolution(jnp.sin(same_convolution(x, kernels[0])), kernels[1])).sum()

    found, expected = jax.jit(
        lambda *inputs: ({name: looped(name)(*inputs) for name in WRITTEN}, jax.grad(unrolled, argnums=(0, 1))(*inputs))
    )(x, kernels)
    for name in WRITTEN:
        for actual, wanted in zip(found[name], expected, strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-10, atol=1e-10)


def test_automatic_choice(monkeypatch):
    assert (resolve_gradient("auto"), resolve_gradient("auto", in_loop=True)) == ("plain", "forward")
    assert resolve_gradient("plain", in_loop=True) == "plain"
    assert fastest_gradient() == "forward"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert resolve_gradient("auto", in_loop=True) == fastest_gradient() == "plain"


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="kernel: expected odd height and width"):
        same_convolution(jnp.zeros((1, 4, 4, 1)), jnp.zeros((2, 2, 1, 1)))
    with pytest.raises(ValueError, match="gradient: expected one of"):
        same_convolution(jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 1, 1)), "fast")
