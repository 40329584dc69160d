"""Models of any family beside each other: how well what they make agrees with real images of one data set.

    python -m experiments sample_quality --model=runs/bruno --model=runs/ns --model=runs/matnet --images=2000

Whatever a model can do is compared with the same real images: samples given nothing, samples given other images of a
class (models of sets), samples of what was fitted after training, and reconstructions. Every number stands with its
extractor, counts and floor, the distance of real training to real test images; docs/sample_quality.md says what they
mean. Numbers of models that see images of another size can be compared only where an extractor resizes them alike.
"""

import argparse
from pathlib import Path
from typing import Any

from exflow.errors import UserError
from exflow.evaluation.evaluators.sample_quality import SAMPLE_QUALITY
from exflow.evaluation.metrics.sample_quality import ALL
from exflow.evaluation.run import closing_task
from experiments.report import Report
from experiments.several import open_subjects
from experiments.subject import CommaSeparated, Subject, add_subject_arguments, open_subject, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options; --model is given once per model."""
    add_subject_arguments(parser)
    parser.add_argument("--images", type=int, default=1000, help="made of each kind, and real ones; default: 1000")
    parser.add_argument("--extractor", default="28x28", help="28x28, a path of Inception, or module:function")
    parser.add_argument("--given", type=int, nargs="*", default=[1, 5], help="sizes of given sets; default: 1 5")
    parser.add_argument("--methods", nargs="*", default=[], help="of a fitted sampler; default: that of the config")
    parser.add_argument("--metrics", action=CommaSeparated, words=ALL, default=list(ALL), help="default: all")
    parser.add_argument("--crop", type=int, default=0, help="side of the centre that is compared; default: 0, all")
    parser.add_argument("--jpeg_quality", type=int, default=0, help="all images through JPEG files; default: 0, none")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Entries of every model, and one table of all."""
    positive(flags, "images", "given")
    subjects = open_subjects(flags, open_subject)
    entries: dict[str, dict[str, Any]] = {}
    for name, subject in subjects.items():
        print(f"{name}: {subject.model.name}")
        entries |= {f"{name}/{measure}": one for measure, one in measured(subject, flags).items()}
    rows = table(entries)
    print("\n".join(rows))
    facts = {"models": {name: subject.facts for name, subject in subjects.items()}}
    return Report(next(iter(subjects.values())).config, facts, entries, {"table": rows}, [])


def measured(subject: Subject, flags: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What the evaluator of sample quality finds of one model.

    Raises:
      UserError: The model makes no images that can be compared.
    """
    config, model = subject.config, subject.model
    if not SAMPLE_QUALITY.requires(model.core):
        raise UserError(f"--model: {model.name} lacks {SAMPLE_QUALITY.needs}. Leave it out.")
    config.data.rotate = False  # upright classes
    config.evaluation.sample_quality.update(
        num_images=flags.images,
        extractor=flags.extractor,
        metrics=tuple(flags.metrics),
        given=tuple(flags.given),
        methods=tuple(flags.methods),
        crop=flags.crop,
        jpeg_quality=flags.jpeg_quality,
    )
    sets, split = subject.image_sets, flags.split
    task = closing_task(
        config, model.core, model.params, sets[split], split, subject.transform, print, fitted=model.fitted
    )
    return SAMPLE_QUALITY.evaluate(task._replace(train=sets["train"] if split != "train" else None))


def table(entries: dict[str, dict[str, Any]]) -> list[str]:
    """Lines of a table: what was made by which model, against all metrics that are known of any."""
    values: dict[str, dict[str, str]] = {}
    for name, entry in entries.items():
        source, _, metric = name.partition("[")[0].rpartition("/")
        values.setdefault(source, {})[metric] = "-" if entry["value"] is None else f"{entry['value']:.4g}"
    known = list(dict.fromkeys(metric for row in values.values() for metric in row))
    lines = [("", *known), *((source, *(row.get(metric, "-") for metric in known)) for source, row in values.items())]
    widths = [max(len(line[column]) for line in lines) for column in range(len(known) + 1)]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
