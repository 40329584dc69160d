"""Equal blocks one after the other: one loop with stacked parameters, or the same loop unrolled."""

from typing import Any

import jax
from flax import linen as nn

BLOCK_LOOPS = ("auto", "scan", "unroll")


def resolve_block_loop(block_loop: str, on_cpu: str = "scan") -> str:
    """Turn "auto" into "scan", on a CPU into `on_cpu`: "unroll" where what is repeated is slow in a loop there.

    So are XLA's own gradients of convolutions, see `exflow.nn.convolution`. Unrolled, every block is compiled anew.
    """
    if block_loop not in BLOCK_LOOPS:
        raise ValueError(f"block_loop: expected one of {BLOCK_LOOPS}, got {block_loop!r}.")
    if block_loop == "auto":
        return on_cpu if jax.default_backend() == "cpu" else "scan"
    return block_loop


def repeated(block: Any, length: int, block_loop: str, remat: bool, in_axes: Any = nn.broadcast) -> Any:
    """Module class that applies `length` blocks (x, context) -> (x, None), their parameters stacked on a first axis.

    Args:
      block: Module class, or function of a module and the inputs; the context is the same for all blocks.
      length: Number of blocks, at least 1.
      block_loop: "scan" or "unroll".
      remat: Recompute each block in the backward pass.
      in_axes: Of the inputs behind x, as of `nn.scan`: 0 where every block has its own; default: all are the context.
    """
    return nn.scan(
        nn.remat(block) if remat else block,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=in_axes,
        length=length,
        unroll=max(2, length) if block_loop == "unroll" else 1,  # 1 would leave one block in a loop
    )
