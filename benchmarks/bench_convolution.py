"""The gradients of `same_convolution`, XLA's own and those written here, at the shapes of BRUNO's residual blocks."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.report import Result, main
from benchmarks.timing import interleaved, ratio
from exflow.nn.activations import elu
from exflow.nn.convolution import GRADIENTS, same_convolution

SHAPES = {"small": (14, 32), "small, squeezed": (7, 32), "full": (28, 64), "full, squeezed": (14, 64)}  # side, filters
QUICK_SHAPES = {"tiny": (6, 4)}
NUM_IMAGES = (40, 80, 160)  # per device
SCAN_IMAGES, SCAN_LAYERS = 40, 2


def one_layer(gradient: str) -> Callable[[Array, Array], tuple]:
    """Value and gradients of one convolution, (x, kernels [1, ...])."""

    def loss(x: Array, kernels: Array) -> Array:
        return 0.5 * (same_convolution(x, kernels[0], gradient) ** 2).sum()

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


def scanned_layers(gradient: str) -> Callable[[Array, Array], tuple]:
    """Value and gradients of a `lax.scan` over layers, (x, kernels [layer, ...])."""

    def loss(x: Array, kernels: Array) -> Array:
        def layer(hidden: Array, kernel: Array) -> tuple[Array, None]:
            return elu(same_convolution(hidden, kernel, gradient)), None

        return 0.5 * (jax.lax.scan(layer, x, kernels)[0] ** 2).sum()

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


def run(quick: bool) -> Result:
    """Milliseconds and GFLOP/s of a 3x3 convolution, forward and backward, on one device."""
    rng = np.random.default_rng(0)
    shapes, num_images, scan_images = (QUICK_SHAPES, (4,), 4) if quick else (SHAPES, NUM_IMAGES, SCAN_IMAGES)
    medians, ratios = {}, {}

    def measure(row: str, build: Callable, side: int, filters: int, images: int, layers: int) -> None:
        x = jnp.asarray(rng.normal(size=(images, side, side, filters)), jnp.float32)
        kernels = jnp.asarray(rng.normal(size=(layers, 3, 3, filters, filters)) / (3 * filters**0.5), jnp.float32)
        functions = {gradient: build(gradient) for gradient in GRADIENTS}
        timings = interleaved({name: lambda call=call: call(x, kernels) for name, call in functions.items()}, quick)
        gflop = 3 * 2 * 9 * filters**2 * side**2 * images * layers / 1e9
        medians[row] = {f"{name} ms": 1e3 * timing.median for name, timing in timings.items()}
        medians[row] |= {f"{name} GFLOP/s": gflop / timing.median for name, timing in timings.items()}
        ratios[row] = {f"plain / {name}": ratio(timings["plain"], timings[name]) for name in GRADIENTS[1:]}

    for name, (side, filters) in shapes.items():
        for images in num_images:
            measure(f"{name}: {images} x {side}x{side}x{filters}", one_layer, side, filters, images, 1)
        row = f"{name}: scan of {SCAN_LAYERS}, {scan_images} x {side}x{side}x{filters}"
        measure(row, scanned_layers, side, filters, scan_images, SCAN_LAYERS)
    settings = {"shapes": shapes, "images": num_images, "scan_images": scan_images, "scan_layers": SCAN_LAYERS}
    return Result(settings, medians, ratios)


if __name__ == "__main__":
    main(run)
