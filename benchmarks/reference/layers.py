"""Layers of the reference models, on arrays with channels last, `[..., height, width, channels]`, as those of exflow.

A convolution gets the same memory as a permuted view, which PyTorch calls channels_last and its kernels prefer.
Parameters have the names that they have in exflow and the layout that PyTorch wants; `convert` goes from one to the
other. They start at zero: references run with parameters given to them.
"""

import functools
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

# In place of what the layer before has computed and does not need for its own gradient
elu = functools.partial(functional.elu, inplace=True)
relu = functools.partial(functional.relu, inplace=True)


def conv(x: Tensor, kernel: Tensor, bias: Tensor, stride: int = 1, padding: int | None = None) -> Tensor:
    """Convolve `[batch, height, width, num_in]` with `[num_out, num_in, size, size]`; a size of 1 is a product.

    Args:
      x: Images or maps.
      kernel: Filters of odd size.
      bias: One number per filter.
      stride: Step.
      padding: Zeros on every side; None: as many as keep height and width at stride 1.
    """
    size = kernel.shape[-1]
    if size == 1:
        return functional.linear(x, kernel[:, :, 0, 0], bias)
    padding = size // 2 if padding is None else padding
    return functional.conv2d(x.permute(0, 3, 1, 2), kernel, bias, stride, padding).permute(0, 2, 3, 1)


def zeros(*shape: int) -> nn.Parameter:
    """A parameter; kernels of convolutions lie in memory as their maps do."""
    values = torch.zeros(shape)
    return nn.Parameter(values.to(memory_format=torch.channels_last) if len(shape) == 4 else values)


class WeightNorm(nn.Module):
    """Dense layer (`size` 0) or convolution with kernel g V / |V|, |V| being per output unit."""

    def __init__(self, num_in: int, num_out: int, size: int = 0):
        super().__init__()
        self.direction = zeros(num_out, num_in, *(size, size) if size else ())
        self.scale, self.bias = zeros(num_out), zeros(num_out)
        self.epsilon = 1e-12 if size else 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        axes = tuple(range(1, self.direction.ndim))
        norm = (self.direction.square().sum(axes, keepdim=True) + self.epsilon).sqrt()
        kernel = self.direction * (self.scale.view(norm.shape) / norm)
        return conv(x, kernel, self.bias) if self.direction.ndim == 4 else functional.linear(x, kernel, self.bias)


class Linear(nn.Module):
    """Dense layer on the last axis (`size` 0), or convolution over the two axes before it; any leading axes."""

    def __init__(self, num_in: int, num_out: int, size: int = 0, stride: int = 1, padding: int | None = None):
        super().__init__()
        self.kernel = zeros(num_out, num_in, *(size, size) if size else ())
        self.bias, self.stride, self.padding = zeros(num_out), stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        if self.kernel.ndim == 2:
            return functional.linear(x, self.kernel, self.bias)
        out = conv(x.flatten(0, -4), self.kernel, self.bias, self.stride, self.padding)
        return out.unflatten(0, x.shape[:-3])


class Doubling(nn.Module):
    """Transposed convolution with 2x2 kernel and stride 2: every pixel becomes four."""

    AXES: ClassVar = (2, 3, 0, 1)  # of exflow's kernel, in the order of PyTorch's

    def __init__(self, num_in: int, num_out: int):
        super().__init__()
        self.kernel, self.bias = zeros(num_in, num_out, 2, 2), zeros(num_out)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to `[..., height, width, num_in]`."""
        images = x.flatten(0, -4).permute(0, 3, 1, 2)
        out = functional.conv_transpose2d(images, self.kernel, self.bias, stride=2)
        return out.permute(0, 2, 3, 1).unflatten(0, x.shape[:-3])


class BatchNorm(nn.Module):
    """Normalisation by the moments of the batch, per channel or (`whole`) of the whole array, as in training."""

    def __init__(self, channels: int, whole: bool = False):
        super().__init__()
        self.whole = whole
        self.gain, self.bias = (zeros() if whole else zeros(channels) for _ in range(2))
        for name, start in (("mean", torch.zeros), ("variance", torch.ones)):
            self.register_buffer(name, start(1 if whole else channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[..., channels]` and move the running averages."""
        epsilon, step = (1e-3, 0.01) if self.whole else (1e-5, 0.1)
        if self.whole:
            rows, gain, bias = x.reshape(-1, 1), self.gain.view(1), self.bias.view(1)
        elif x.ndim > 3:
            rows, gain, bias = x.flatten(0, -4).permute(0, 3, 1, 2), self.gain, self.bias
        else:
            rows, gain, bias = x.flatten(0, -2), self.gain, self.bias
        out = functional.batch_norm(rows, self.mean, self.variance, gain, bias, True, step, epsilon)
        return (out.permute(0, 2, 3, 1) if out.ndim == 4 else out).reshape(x.shape)
