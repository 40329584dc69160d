"""`jax.jit` for large programs that run forward only, whose compilation a user of the API waits for."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from exflow.xla_flags import of_known_version

ON_CPU = {"xla_backend_optimization_level": 2, "xla_cpu_emitter_verification_level": 0}  # a fifth less, equal code


@functools.cache
def compiler_options() -> dict[str, Any] | None:
    """Options of XLA that shorten compilation without changing results or speed; None where XLA may not know them."""
    return ON_CPU if jax.default_backend() == "cpu" and of_known_version() else None


def quick_jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """The function compiled with these options; JAX is not asked for its devices before the first call.

    Args:
      function: Not to be called within another compiled function, which would have to have the options.
      **options: Of `jax.jit`.
    """

    @functools.cache
    def program() -> Callable[..., Any]:
        return jax.jit(function, compiler_options=compiler_options(), **options)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return program()(*arguments)

    return call
