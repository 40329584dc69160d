"""Evaluation of any set model: likelihood, few-shot accuracy and samples, from images that are encoded once."""

from exflow.evaluation.evaluator import evaluate, validate, write_samples

__all__ = ["evaluate", "validate", "write_samples"]
