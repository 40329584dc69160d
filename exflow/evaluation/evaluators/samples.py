"""Pictures of what a model draws; no numbers."""

from pathlib import Path

from exflow.evaluation.evaluator import Evaluator, Task
from exflow.evaluation.pictures.sample_files import write_samples


def draw(task: Task, workdir: Path) -> list[Path]:
    """The pictures of `write_samples`."""
    return write_samples(
        task.config, workdir, task.model, task.params, task.image_sets, task.transform, task.say, task.fitted
    )


SAMPLES = Evaluator(
    name="samples",
    needs="samples",
    requires=lambda model: (model.sets or model.sampler or model.imputation) is not None,
    metrics=lambda config, model: {},
    validate=lambda task: {},
    evaluate=lambda task: {},
    draw=draw,
)
