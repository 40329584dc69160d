"""All metrics of samples in one report, with everything that has to stand beside such a number.

A number tells something only together with the extractor, the counts, how images were resized and with which seed they
were drawn, and with its floor: the same distance between real training and real test images.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from exflow.errors import UserError
from exflow.evaluation import results
from exflow.evaluation.metrics.distances import Features
from exflow.evaluation.metrics.extractor import Extractor, feature_batches, features_of
from exflow.evaluation.metrics.fid import fid, fid_estimate, frechet_distance, streamed_moments
from exflow.evaluation.metrics.jpeg import through_jpeg
from exflow.evaluation.metrics.kid import kid, usual_subset_size
from exflow.evaluation.metrics.manifolds import (
    DENSITY_NEIGHBOURS,
    NEIGHBOURS,
    density_coverage,
    improved_precision_recall,
)
from exflow.evaluation.metrics.precision_recall import CLUSTERS, precision_recall
from exflow.evaluation.scoring.likelihood import Estimate

Report = dict[str, dict[str, Any]]  # entries of `results.json`, by name
ALL = ("fid", "kid", "prd", "manifolds")
MAX_DIM = 512  # of features up to which the standard error of the Frechet distance, 20 distances more, is computed
FRECHET, DISCREPANCY, SHARE = "feature^2", "MMD^2", "share"  # units


class Setting(NamedTuple):
    """How sets of images are compared, the same for all that stand in one table."""

    extractor: Extractor
    seed: int = 0  # of the samples, and of what the metrics draw
    jpeg_quality: int = 0  # > 0: all images go through JPEG files of this quality first
    metrics: tuple[str, ...] = ALL
    floor: float | None = None  # Frechet distance of real training to real test images, as many as are compared
    crop: int = 0  # side of the centre of all images that is compared; 0: all

    def named(self, metric: str) -> str:
        """A metric with its extractor, such as "fid[28x28-a1b2c3d4]"; JPEG makes another number of it."""
        mode = f",jpeg{self.jpeg_quality}" if self.jpeg_quality else ""
        return f"{metric}[{self.extractor.name}{mode}]"


class Compared(NamedTuple):
    """Features of a set of images, and what it is called in protocols."""

    features: Features
    what: str  # such as "test images"


def features(setting: Setting, images: UInt8[np.ndarray, "_images height width channels"]) -> Features:
    """Features of images in the mode of the setting."""
    return features_of(setting.extractor, _seen(setting, images))


def sample_quality(
    real: UInt8[np.ndarray, "_images height width channels"],
    generated: UInt8[np.ndarray, "_images height width channels"],
    setting: Setting,
    train: UInt8[np.ndarray, "_images height width channels"] | None = None,
) -> Report:
    """Compare images; where the Frechet distance alone is asked for, their features are never held at once.

    Args:
      real: Reference, usually test images.
      generated: Images; precision and recall of distributions need as many.
      setting: How.
      train: Real training images, as many as real ones, for the floor; None: as the setting says.

    Returns:
      Entries by metric and extractor.

    Raises:
      ValueError: They cannot be compared.
      UserError: What the extractor or a metric needs is not installed.
    """
    if setting.metrics == ("fid",):
        moments = [
            None if images is None else streamed_moments(feature_batches(setting.extractor, _seen(setting, images)))
            for images in (real, generated, train)
        ]
        assert moments[0] is not None
        assert moments[1] is not None
        floor = setting.floor if moments[2] is None else frechet_distance(moments[2], moments[0])
        value = Estimate(frechet_distance(moments[0], moments[1]), float("nan"))
        how = protocol(setting._replace(floor=floor), len(real), "real", len(generated), "generated")
        return {setting.named("fid"): _entry(value, FRECHET, f"Frechet distance; {how}")}
    reference = Compared(features(setting, real), "real")
    if train is not None:
        setting = setting._replace(floor=fid(features(setting, train), reference.features))
    return compare(reference, Compared(features(setting, generated), "generated"), setting)


def compare(real: Compared, generated: Compared, setting: Setting) -> Report:
    """The metrics of the setting between features of two sets.

    Raises:
      ValueError: They cannot be compared.
      UserError: scikit-learn is not installed.
    """
    x, y = real.features, generated.features
    how = protocol(setting, len(x), real.what, len(y), generated.what)
    least, report = min(len(x), len(y)), {}
    if "fid" in setting.metrics:
        known = x.shape[1] <= MAX_DIM and least >= 20
        value = fid_estimate(x, y) if known else Estimate(fid(x, y), float("nan"))
        report["fid"] = _entry(value, FRECHET, f"Frechet distance; {how}") | {"num_images": len(y)}
    if "kid" in setting.metrics:
        found = kid(x, y, subset_size=usual_subset_size(least), seed=setting.seed)
        subsets = f"{found.num_subsets} subsets of {found.subset_size}, deviation {found.deviation:.3g}"
        value = Estimate(found.mean, found.standard_error)
        report["kid"] = _entry(value, DISCREPANCY, f"kernel distance, unbiased, not scaled; {subsets}; {how}")
        report["kid"]["deviation"] = found.deviation
    if "prd" in setting.metrics:
        curve = precision_recall(x, y, seed=setting.seed)
        clusters = f"of distributions by {CLUSTERS} clusters"
        report["prd_f8"] = _share(curve.f_recall, f"max F_8, weights recall, {clusters}; {how}")
        report["prd_f1_8"] = _share(curve.f_precision, f"max F_1/8, weights precision, {clusters}; {how}")
    if "manifolds" in setting.metrics:
        precision, recall = improved_precision_recall(x, y)
        report["precision"] = _share(precision, f"generated images within {NEIGHBOURS} neighbours of real ones; {how}")
        report["recall"] = _share(recall, f"real images within {NEIGHBOURS} neighbours of generated ones; {how}")
        density, coverage = density_coverage(x, y)
        report["density"] = _share(density, f"by {DENSITY_NEIGHBOURS} neighbours, may exceed 1; {how}")
        report["coverage"] = _share(coverage, f"real images with generated ones within {DENSITY_NEIGHBOURS}; {how}")
    return {setting.named(metric): entry for metric, entry in report.items()}


def class_distance(
    real: Compared,
    generated: Compared,
    real_labels: Int[np.ndarray, " _images"],
    generated_labels: Int[np.ndarray, " _images"],
    setting: Setting,
) -> Report:
    """Mean over classes of the Frechet distance between the real and the generated images of the class.

    Classes with less than two images of either kind are left out; none where that leaves no class. The standard error
    is over classes.
    """
    values, counts = [], []
    for label in np.unique(real_labels):
        x, y = real.features[real_labels == label], generated.features[generated_labels == label]
        if min(len(x), len(y)) >= 2:
            values.append(fid(x, y))
            counts.append(min(len(x), len(y)))
    if not values:
        return {}
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    how = protocol(setting._replace(floor=None), len(real.features), real.what, len(generated.features), generated.what)
    each = f"mean over {len(values)} classes of {min(counts)} to {max(counts)} images"
    entry = _entry(Estimate(float(np.mean(values)), float(error)), FRECHET, f"Frechet distance, {each}; {how}")
    return {setting.named("class_fid"): entry}


def protocol(setting: Setting, num_real: int, real: str, num_generated: int, generated: str) -> str:
    """What must be printed with a number of the setting."""
    parts = [f"{num_real} {real} against {num_generated} {generated}"]
    if setting.floor is not None:
        parts.append(f"floor (real train to real test) {setting.floor:.4g}")
    parts.append(f"features {setting.extractor.name}, resize {setting.extractor.resize}")
    if setting.crop:
        parts.append(f"centres of {setting.crop}x{setting.crop}")
    if setting.jpeg_quality:
        parts.append(f"all images through JPEG of quality {setting.jpeg_quality}")
    return "; ".join([*parts, f"sample seed {setting.seed}"])


def _seen(setting: Setting, images: UInt8[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    if setting.crop:
        images = centre(images, setting.crop)
    return through_jpeg(images, setting.jpeg_quality) if setting.jpeg_quality else images


def centre(images: UInt8[np.ndarray, "num height width channels"], side: int) -> UInt8[np.ndarray, "num s s channels"]:
    """The centre of images, where `data.resize=pad` has put them.

    Raises:
      UserError: They are smaller.
    """
    above, left = ((length - side) // 2 for length in images.shape[1:3])
    if min(above, left) < 0:
        raise UserError(f"sample_quality.crop: expected at most the side of {images.shape[1:3]} images, got {side}.")
    return images[:, above : above + side, left : left + side]


def _entry(estimate: Estimate, unit: str, how: str) -> dict[str, Any]:
    return results.result(estimate.value, unit, how, standard_error=estimate.standard_error)


def _share(value: float, how: str) -> dict[str, Any]:
    return results.result(value, SHARE, how)
