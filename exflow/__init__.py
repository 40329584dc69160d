"""exflow: deep generative models of exchangeable data in JAX/Flax.

`exflow.load("runs/bruno_glyphs")` opens a trained model; `exflow.core` holds the mathematics on its own. Importing
the package loads neither TensorFlow nor matplotlib.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exflow.api import load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import the Python API on first use, so that `import exflow` stays quick."""
    if name == "load":
        from exflow.api import load

        return load
    raise AttributeError(f"module 'exflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "load"]
