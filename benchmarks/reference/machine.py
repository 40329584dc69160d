"""What the machine can do at most: a product of matrices and a convolution of BRUNO's blocks in PyTorch, as JSON.

python -m benchmarks.reference.machine [--quick]
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch.nn import functional

ROUNDS = 5


def rate(flop: float, call: Callable[[], object]) -> float:
    """GFLOP per second: the median over `ROUNDS` calls after the first."""
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return flop / statistics.median(seconds[1:]) / 1e9


def main() -> None:
    """Measure and print."""
    size, images, side, filters = (64, 2, 8, 8) if "--quick" in sys.argv else (2048, 80, 28, 64)
    a, b = torch.randn(size, size), torch.randn(size, size)
    x = torch.randn(images, filters, side, side).to(memory_format=torch.channels_last).requires_grad_()
    kernel = torch.randn(filters, filters, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    out = functional.conv2d(x, kernel, padding=1)
    gradient, flop = torch.ones_like(out), 2 * 9 * filters**2 * side**2 * images

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return functional.conv2d(x, kernel, padding=1)

    def backward() -> object:
        return torch.autograd.grad(out, (x, kernel), gradient, retain_graph=True)

    print(
        json.dumps(
            {
                "product GFLOP/s": rate(2 * size**3, lambda: a @ b),
                "convolution GFLOP/s": rate(flop, forward),
                "gradients GFLOP/s": rate(2 * flop, backward),
            }
        )
    )


if __name__ == "__main__":
    main()
