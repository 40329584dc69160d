"""The gradients of convolutions, XLA's own and those written here, at the shapes of published models.

Blocks of BRUNO forward and backward, outside of loops and in them, and the gradient of the kernel alone at the layers
of all families: what `auto` takes there, what a measurement would take, and how long XLA compiles each of the forms,
which is what a measurement by every run would cost.

    python -m benchmarks.bench_convolution [--ynn] [--quick] [--out FILE]
"""

import argparse
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.report import Result, Table, main
from benchmarks.timing import Timing, interleaved, ratio
from exflow import xla_flags
from exflow.nn.activations import elu
from exflow.nn.convolution import GRADIENTS, convolution, fastest_gradient, resolve_gradient, same_convolution

SHAPES = {"small": (14, 32), "small, squeezed": (7, 32), "full": (28, 64), "full, squeezed": (14, 64)}  # side, filters
QUICK_SHAPES = {"tiny": (6, 4)}
NUM_IMAGES = (40, 80, 160)  # per device
SCAN_IMAGES, SCAN_LAYERS = 40, 2
MARGIN = 1.15  # by which a form has to be faster than that of the rule before a measurement takes it


class Convolution(NamedTuple):
    """A 3x3 convolution with one pixel of zeros around, on one of two devices."""

    images: int
    side: int
    num_in: int
    num_out: int
    stride: int = 1
    may_loop: bool = True  # whether it may stand in a loop, where "plain" is excluded; layers of set VAEs do not know

    @property
    def gflop(self) -> float:
        """Of the gradient of its kernel."""
        return 2 * 9 * self.num_in * self.num_out * (-(-self.side // self.stride)) ** 2 * self.images / 1e9

    @property
    def auto(self) -> str:
        """What exflow takes."""
        return fastest_gradient() if self.may_loop else resolve_gradient("auto")

    @property
    def choices(self) -> tuple[str, ...]:
        """What could be taken."""
        return tuple(gradient for gradient in GRADIENTS if gradient != "plain" or not self.may_loop)


LAYERS = {
    "bruno": Convolution(40, 28, 64, 64, may_loop=False),
    "bruno, squeezed": Convolution(40, 14, 64, 64, may_loop=False),
    "bruno:cpu": Convolution(80, 14, 32, 32, may_loop=False),
    "ns": Convolution(250, 28, 64, 64),
    "cns, gray": Convolution(50, 28, 1, 64),
    "cns": Convolution(50, 28, 64, 64),
    "cns, halving": Convolution(50, 28, 64, 64, stride=2),
    "cns, 14": Convolution(50, 14, 128, 128),
    "cns, 14, halving": Convolution(50, 14, 128, 128, stride=2),
    "cns, 8": Convolution(50, 8, 256, 128),
    "cns, 7": Convolution(50, 7, 256, 256),
    "cns, 4": Convolution(50, 4, 256, 256),
    "scha": Convolution(10, 32, 32, 32),
    "scha, 8": Convolution(10, 8, 32, 32),
    "scha, sets": Convolution(2, 8, 32, 32),
}
QUICK_LAYERS = {"tiny": Convolution(2, 6, 3, 4, stride=2), "tiny, no loop": Convolution(2, 6, 3, 4, may_loop=False)}


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


def of_kernel(gradient: str, stride: int) -> Callable[[Array, Array, Array], Array]:
    """Gradient of a kernel alone, (x, kernel, dy)."""

    def pulled_back(x: Array, kernel: Array, dy: Array) -> Array:
        return jax.vjp(lambda kernel: convolution(x, kernel, stride, (1, 1), gradient), kernel)[1](dy)[0]

    return jax.jit(pulled_back)


def measured_choice(timings: Mapping[str, Timing], auto: str, margin: float = MARGIN) -> str:
    """The fastest of the forms that may be taken, or `auto` unless that one is `margin` times as fast."""
    fastest = min(timings, key=lambda form: timings[form].median)
    return fastest if timings[auto].median >= margin * timings[fastest].median else auto


def kernel_gradients(layer: Convolution, quick: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Medians and ratios of a layer, in CPU seconds: the cores of a step are all busy."""
    rng, side = np.random.default_rng(0), -(-layer.side // layer.stride)
    shapes = (
        (layer.images, layer.side, layer.side, layer.num_in),
        (3, 3, layer.num_in, layer.num_out),
        (layer.images, side, side, layer.num_out),
    )
    values = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]
    programs, medians = {}, {}
    for gradient in GRADIENTS:
        start = time.process_time()
        programs[gradient] = of_kernel(gradient, layer.stride).lower(*values).compile()
        medians[f"{gradient} compile s"] = time.process_time() - start
    calls = {name: lambda program=program: program(*values) for name, program in programs.items()}
    timings = interleaved(calls, quick, time.process_time)
    medians |= {f"{name} GFLOP/s": layer.gflop / timing.median for name, timing in timings.items()}
    auto, possible = timings[layer.auto], {name: timings[name] for name in layer.choices}
    fastest = min(possible.values(), key=lambda timing: timing.median)
    measured = possible[measured_choice(possible, layer.auto)]
    return medians, {"auto / fastest": ratio(auto, fastest), "auto / measured": ratio(auto, measured)}


def add_own_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this benchmark."""
    parser.add_argument("--ynn", action="store_true", help="leave the convolutions to what XLA would choose (YNNPACK)")


def run(quick: bool, ynn: bool = False) -> Result:
    """Milliseconds and GFLOP/s of a 3x3 convolution on one device; "kernel": its kernel's gradient, in CPU seconds."""
    if not ynn:
        xla_flags.leave_convolutions_to_eigen()
    jax.config.update("jax_enable_compilation_cache", False)
    rng = np.random.default_rng(0)
    shapes, num_images, scan_images = (QUICK_SHAPES, (4,), 4) if quick else (SHAPES, NUM_IMAGES, SCAN_IMAGES)
    layers = QUICK_LAYERS if quick else LAYERS
    medians: Table = {}
    ratios: Table = {}

    def measure(row: str, build: Callable, side: int, filters: int, images: int, num_layers: int) -> None:
        x = jnp.asarray(rng.normal(size=(images, side, side, filters)), jnp.float32)
        kernels = jnp.asarray(rng.normal(size=(num_layers, 3, 3, filters, filters)) / (3 * filters**0.5), jnp.float32)
        functions = {gradient: build(gradient) for gradient in GRADIENTS}
        timings = interleaved({name: lambda call=call: call(x, kernels) for name, call in functions.items()}, quick)
        gflop = 3 * 2 * 9 * filters**2 * side**2 * images * num_layers / 1e9
        medians[row] = {f"{name} ms": 1e3 * timing.median for name, timing in timings.items()}
        medians[row] |= {f"{name} GFLOP/s": gflop / timing.median for name, timing in timings.items()}
        ratios[row] = {f"plain / {name}": ratio(timings["plain"], timings[name]) for name in GRADIENTS[1:]}

    for name, layer in layers.items():
        row = f"kernel, {name}: auto = {layer.auto}"
        medians[row], ratios[row] = kernel_gradients(layer, quick)
    for name, (side, filters) in shapes.items():
        for images in num_images:
            measure(f"{name}: {images} x {side}x{side}x{filters}", one_layer, side, filters, images, 1)
        row = f"{name}: scan of {SCAN_LAYERS}, {scan_images} x {side}x{side}x{filters}"
        measure(row, scanned_layers, side, filters, scan_images, SCAN_LAYERS)
    settings = {"shapes": shapes, "images": num_images, "scan_images": scan_images, "scan_layers": SCAN_LAYERS}
    settings |= {"layers": {name: layer._asdict() for name, layer in layers.items()}, "margin": MARGIN, "ynn": ynn}
    return Result(settings, medians, ratios)


if __name__ == "__main__":
    main(run, add_own_arguments)
