"""Evaluation of trained models by what they can do, from images that are encoded once."""

from exflow.evaluation.run import evaluate, evaluate_split, validate

__all__ = ["evaluate", "evaluate_split", "validate"]
