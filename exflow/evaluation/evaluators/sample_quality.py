"""How well images that a model makes agree with real ones: samples, samples given a set, and reconstructions.

Off by default; `config.evaluation.sample_quality.num_images` switches it on. The reference are images of the evaluated
split, as many as are made; the floor is the same distance between images of the training split and the reference.
"""

import importlib.util

import numpy as np
from ml_collections import ConfigDict

from exflow.errors import UserError
from exflow.evaluation import results
from exflow.evaluation.evaluator import Entries, Evaluator, Task, plural
from exflow.evaluation.metrics import detection
from exflow.evaluation.metrics import sample_quality as report
from exflow.evaluation.metrics.features import find
from exflow.evaluation.metrics.fid import fid
from exflow.evaluation.metrics.image_quality import peak_signal_to_noise, structural_similarity
from exflow.evaluation.scoring.generated_images import Pictures, Reference, draw_reference, sources
from exflow.model import Model

MIN_IMAGES = 20  # that all metrics can be had of


def check(config: ConfigDict, model: Model) -> dict[str, str]:
    """Find mistakes before anything is trained; validation gives no numbers.

    Raises:
      UserError: Too few images, a metric or method that does not exist, or a package that is not installed.
    """
    options = config.evaluation.sample_quality
    if options.num_images and options.num_images < MIN_IMAGES:
        raise UserError(
            "config.evaluation.sample_quality.num_images: expected 0 (off) or at least "
            f"{MIN_IMAGES}, got {options.num_images}."
        )
    known = () if model.sampler is None else model.sampler.methods
    if model.sampler is not None and not set(options.methods) <= set(known):
        expected = ", ".join(known)
        raise UserError(
            f"config.evaluation.sample_quality.methods: expected some of {expected}, got {tuple(options.methods)}."
        )
    metrics = tuple(options.metrics)
    unknown = [name for name in metrics if name not in report.ALL]
    if unknown or not metrics:
        expected = ", ".join(report.ALL)
        raise UserError(f"config.evaluation.sample_quality.metrics: expected some of {expected}, got {metrics}.")
    if "prd" in metrics and importlib.util.find_spec("sklearn") is None:
        raise UserError(
            "config.evaluation.sample_quality.metrics: prd needs scikit-learn, which is not installed. "
            "`python -m pip install 'exflow[metrics]'`, or leave prd out."
        )
    return {}


def evaluate(task: Task) -> Entries:
    """Entries `<split>_<source>/<metric>[<extractor>]`; none where no images are asked for."""
    options, split, seed = task.config.evaluation.sample_quality, task.split, task.config.training.seed
    if options.num_images == 0:
        task.say("sample_quality: skipped, set config.evaluation.sample_quality.num_images")
        return {}
    check(task.config, task.model)
    metrics, crop = tuple(options.metrics), options.crop
    setting = report.Setting(find(options.extractor), seed, options.jpeg_quality, metrics, crop=crop)
    reference = draw_reference(task.image_sets, options.num_images, seed, task.transform)
    number = len(reference.images)
    if number < MIN_IMAGES:
        task.say(f"sample_quality: skipped, {split} has {plural(number, 'image')}, fewer than {MIN_IMAGES}")
        return {}
    task.say(f"comparing samples with {plural(number, f'{split} image')}, features {setting.extractor.name}")
    real = report.Compared(report.features(setting, reference.images), f"{split} images")
    entries: Entries = {}
    if task.train is not None:
        train = draw_reference(task.train, number, seed, task.transform).images
        floor = report.Compared(report.features(setting, train), "train images")
        setting = setting._replace(floor=fid(floor.features, real.features))
        entries |= _named(f"{split}_floor", report.compare(real, floor, setting._replace(metrics=("fid",), floor=None)))
    methods = tuple(options.methods) or tuple(filter(None, (task.config.sampling.method,)))
    for source in sources(task, reference, tuple(options.given), methods):
        task.say(f"{source.name}: {source.what}")
        images = source.draw()
        made = report.Compared(report.features(setting, images), source.what)
        found = report.compare(real, made, setting)
        if source.of_class and "fid" in setting.metrics:
            found |= report.class_distance(real, made, reference.label, reference.label, setting)
        if source.reconstructs:
            found |= fidelity(reference, images, f"{source.what}; {number} {split} images")
        entries |= _named(f"{split}_{source.name}", found)
    return entries


def fidelity(reference: Reference, images: Pictures, how: str) -> Entries:
    """How close reconstructions are to their images."""
    ratio, similarity = (measure(images, reference.images) for measure in (peak_signal_to_noise, structural_similarity))
    ratio = np.where(np.isinf(ratio), np.nan, ratio)

    def entry(values: np.ndarray, unit: str, title: str) -> dict:
        estimate = detection.mean_estimate(values)
        return results.result(estimate.value, unit, f"{title}; {how}", standard_error=estimate.standard_error)

    return {
        "psnr": entry(ratio, "dB", "peak signal-to-noise ratio, mean over images that are not equal to their own"),
        "ssim": entry(similarity, "SSIM", "structural similarity, 7x7 windows"),
    }


def _named(prefix: str, found: report.Report) -> Entries:
    return {f"{prefix}/{name}": entry for name, entry in found.items()}


SAMPLE_QUALITY = Evaluator(
    name="sample_quality",
    needs="samples or reconstructions of whole images without context",
    requires=lambda model: (
        not model.of_vectors
        and not model.context_dim
        and model.imputation is None
        and (model.sets or model.sampler or model.codes or model.latents) is not None
    ),
    metrics=check,
    validate=lambda task: {},
    evaluate=evaluate,
    by_default=lambda config: config.evaluation.sample_quality.num_images > 0,
)
