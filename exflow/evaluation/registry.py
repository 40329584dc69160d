"""Evaluators by name, and which of them a configuration and a model have. A fork adds one with `register`."""

from ml_collections import ConfigDict

from exflow.errors import UserError
from exflow.evaluation.evaluator import Evaluator
from exflow.evaluation.evaluators.compression import COMPRESSION
from exflow.evaluation.evaluators.few_shot import FEW_SHOT
from exflow.evaluation.evaluators.importance import IMPORTANCE
from exflow.evaluation.evaluators.imputation import IMPUTATION
from exflow.evaluation.evaluators.latent_usage import LATENT_USAGE
from exflow.evaluation.evaluators.likelihood import LIKELIHOOD
from exflow.evaluation.evaluators.mixture import MIXTURE
from exflow.evaluation.evaluators.reconstruction import RECONSTRUCTION
from exflow.evaluation.evaluators.sample_quality import SAMPLE_QUALITY
from exflow.evaluation.evaluators.samples import SAMPLES
from exflow.evaluation.evaluators.views import VIEWS
from exflow.model import Model

# In the order of the closing table
EVALUATORS: dict[str, Evaluator] = {
    one.name: one
    for one in (
        LIKELIHOOD,
        FEW_SHOT,
        VIEWS,
        IMPORTANCE,
        IMPUTATION,
        LATENT_USAGE,
        MIXTURE,
        RECONSTRUCTION,
        COMPRESSION,
        SAMPLE_QUALITY,
        SAMPLES,
    )
}


def register(evaluator: Evaluator) -> Evaluator:
    """Add an evaluator, which then runs for every model that has what it requires.

    Raises:
      ValueError: Another one has its name.
    """
    if EVALUATORS.setdefault(evaluator.name, evaluator) is not evaluator:
        raise ValueError(f"evaluator: expected a new name, got {evaluator.name!r}. Choose another.")
    return evaluator


def chosen(config: ConfigDict, model: Model) -> tuple[Evaluator, ...]:
    """The evaluators of `config.evaluation.evaluators`; where it is empty all default ones that the model can serve.

    Raises:
      UserError: There is no such evaluator, or the model lacks what it requires.
    """
    names = config.evaluation.evaluators
    if not names:
        return tuple(one for one in EVALUATORS.values() if one.by_default(config) and one.requires(model))
    for name in names:
        if name not in EVALUATORS:
            raise UserError(f"config.evaluation.evaluators: expected some of {', '.join(EVALUATORS)}, got {name!r}.")
        if not EVALUATORS[name].requires(model):
            raise UserError(
                f"config.evaluation.evaluators: {name} needs {EVALUATORS[name].needs}, which {model.name} lacks. "
                "Leave it out, or choose another model."
            )
    return tuple(EVALUATORS[name] for name in names)


def check_best_metric(config: ConfigDict, model: Model) -> None:
    """Check that validation gives `training.best_metric`, and that `training.best_mode` says which way it is better.

    Raises:
      UserError: It does not, or the evaluators cannot be had.
    """
    training = config.training
    modes = {}
    for evaluator in chosen(config, model):
        modes |= evaluator.metrics(config, model)
    if not training.best_metric:
        return
    if training.best_metric not in modes:
        expected = f"one of {', '.join(modes)}" if modes else "nothing, since no evaluator of this model gives any,"
        raise UserError(
            f"config.training.best_metric: expected {expected}, got {training.best_metric!r}. "
            "Set --config.training.best_metric= (empty) for the latest checkpoint."
        )
    mode = modes[training.best_metric]
    if training.best_mode != mode:
        raise UserError(
            f"config.training.best_mode: expected {mode} with {training.best_metric}, got {training.best_mode!r}."
        )
