"""How many bits the codes of images need, beside what is lost, for models of binary codes."""

from ml_collections import ConfigDict

from exflow.core.binary.code_length import bitwise_length, lengths
from exflow.errors import UserError
from exflow.evaluation import results
from exflow.evaluation.code_passes import codes_of_images
from exflow.evaluation.evaluator import Entries, Evaluator, Task
from exflow.evaluation.metrics import detection
from exflow.model import Model, sampler_of

UNIT = "bits/image"


def wanted(config: ConfigDict) -> bool:
    """Whether `config.sampling.densities` names any."""
    return bool(config.sampling.densities)


def evaluate(task: Task) -> Entries:
    """Bits per image: raw; the entropies of single bits; and cross-entropies of `config.sampling.densities`.

    All but the first are upper bounds of the entropy of the codes. A cross-entropy is what an arithmetic coder with
    the distribution that was fitted to the training codes needs, without the distribution itself.

    Raises:
      UserError: A method has no probabilities, or nothing was fitted.
    """
    sampler, methods = sampler_of(task.model), task.config.sampling.densities
    unknown = [method for method in methods if method not in sampler.densities]
    if unknown:
        known = ", ".join(sampler.densities) or "none of this model"
        raise UserError(f"config.sampling.densities: expected some of {known}, got {unknown[0]!r}. Correct it.")
    if task.fitted is None or sampler.log_prob is None:
        raise UserError(f"{task.model.name}: nothing was fitted to its codes. Finish training first: --mode=train.")
    codes = codes_of_images(task.model, task.params, task.images(), task.config.evaluation.batch_size)
    number = f"codes of {len(codes)} {task.split} images"
    entries = {
        "raw": results.result(float(codes.shape[1]), UNIT, number),
        "bitwise": results.result(bitwise_length(codes), UNIT, f"sum of the entropies of single bits; {number}"),
    }
    for method in methods:
        task.say(f"bits of {task.split} codes by {method}")
        mean = detection.mean_estimate(lengths(sampler.log_prob(task.fitted.by(method), codes, method)))
        protocol = f"cross-entropy under {method}, fitted to the training codes; {number}"
        entries[method] = results.result(mean.value, UNIT, protocol, standard_error=mean.standard_error)
    return {f"{task.split}_code_bits/{name}": entry for name, entry in entries.items()}


def _capable(model: Model) -> bool:
    return model.codes is not None and model.codes.binary and model.sampler is not None


COMPRESSION = Evaluator(
    name="compression",
    needs="binary codes and a sampler",
    requires=_capable,
    metrics=lambda config, model: {},
    validate=lambda task: {},
    evaluate=evaluate,
    by_default=wanted,
)
