"""Evaluation of trained models by what they can do, from images that are encoded once."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exflow.evaluation.run import evaluate, evaluate_split, validate

__all__ = ["evaluate", "evaluate_split", "validate"]


def __getattr__(name: str) -> Any:
    """Import the evaluators, and SciPy with them, on first use: the Python API does without."""
    if name in __all__:
        from exflow.evaluation import run

        return vars(run)[name]
    raise AttributeError(f"module 'exflow.evaluation' has no attribute {name!r}")
