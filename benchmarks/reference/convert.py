"""Parameters of exflow as those of a reference, and the reverse; both have the same names.

What exflow stacks along a leading axis are modules of a list here, and what Flax numbers ("Linear_0") as well.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.reference.layers import Doubling

Tree = Any  # nested dicts and lists of arrays
NUMBERED = {"layers": "Linear", "norms": "Normalization", "doublings": "Doubling", "residuals": "ResidualBlock"}
NUMBERED |= {"hiddens": "HiddenLayer"}
_NUMBERED = re.compile(rf"\b({'|'.join(NUMBERED)})\.(\d+)")


def with_couplings(params: dict[str, Any]) -> Tree:
    """Parameters of BRUNO with the couplings of its flow in one list, in the order in which they are applied."""

    def couplings(part: Any) -> Iterator[dict]:
        if isinstance(part, dict):
            yield {"conditioner": part}
        else:
            for inner in part:
                yield from couplings(inner)

    return {**params, "flow": {"couplings": list(couplings(params["flow"]))}}


def copy_into(model: nn.Module, tree: Tree) -> None:
    """Give a reference the numbers of exflow's parameters, in its own precision.

    Args:
      model: The reference.
      tree: Parameters of exflow, NumPy arrays.

    Raises:
      KeyError: exflow's model has no parameter of that name.
      ValueError: It has, in another shape.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = np.transpose(leaf(tree, name), axes(model, name))
            if values.shape != parameter.shape:
                raise ValueError(f"{name}: expected {tuple(parameter.shape)}, got {values.shape}.")
            parameter.copy_(torch.tensor(values))


def gradient(model: nn.Module, name: str) -> np.ndarray:
    """Gradient of a parameter in the layout of exflow; zeros where the loss does not depend on it."""
    parameter = model.get_parameter(name)
    grad: Tensor = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return np.transpose(grad.numpy(), np.argsort(axes(model, name)))


def leaf(tree: Tree, name: str) -> np.ndarray:
    """The array of exflow that belongs to a parameter of the reference."""
    node, stacked = tree, None
    for part in _NUMBERED.sub(lambda found: f"{NUMBERED[found[1]]}_{found[2]}", name).split("."):
        if part.isdigit() and isinstance(node, dict):
            stacked = int(part)
        else:
            node = node[int(part) if part.isdigit() else part]
    return np.asarray(node if stacked is None else node[stacked])


def axes(model: nn.Module, name: str) -> tuple[int, ...]:
    """Axes of exflow's array in the order of the reference's: inputs before outputs becomes outputs before inputs."""
    owner, _, kind = name.rpartition(".")
    rank = model.get_parameter(name).ndim
    if kind not in ("kernel", "direction"):
        return tuple(range(rank))
    if isinstance(model.get_submodule(owner), Doubling):
        return Doubling.AXES
    return (1, 0) if rank == 2 else (3, 2, 0, 1)
