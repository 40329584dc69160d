"""The report: every metric by its name, and all that must be printed with it."""

import numpy as np
import pytest

from exflow.errors import UserError
from exflow.evaluation.metrics.extractor import Extractor
from exflow.evaluation.metrics.fid import fid
from exflow.evaluation.metrics.jpeg import through_jpeg
from exflow.evaluation.metrics.kid import kid
from exflow.evaluation.metrics.manifolds import density_coverage, improved_precision_recall
from exflow.evaluation.metrics.sample_quality import Compared, Setting, class_distance, compare, sample_quality

RNG = np.random.default_rng(0)
WITHOUT_CLUSTERS = ("fid", "kid", "manifolds")


def columns(images):
    """Means of columns: 8 features."""
    return images.mean(axis=(1, 3)).astype(np.float32)


EXTRACTOR = Extractor("columns-1", columns, "none")
SETTING = Setting(EXTRACTOR, seed=3, metrics=WITHOUT_CLUSTERS)
REAL, TRAIN, GENERATED = (
    np.clip(RNG.normal(mean, 30, size=(number, 8, 8, 1)), 0, 255).astype(np.uint8)
    for mean, number in ((100, 50), (100, 50), (120, 40))
)


@pytest.fixture(scope="module")
def report():
    """Of three sets."""
    return sample_quality(REAL, GENERATED, SETTING, TRAIN)


def test_every_metric_is_that_of_the_features(report):
    x, y = columns(REAL), columns(GENERATED)
    found = {name.removesuffix("[columns-1]"): entry["value"] for name, entry in report.items()}
    assert list(found) == ["fid", "kid", "precision", "recall", "density", "coverage"]
    np.testing.assert_allclose(found["fid"], fid(x, y), rtol=1e-9)
    np.testing.assert_allclose(found["kid"], kid(x, y, subset_size=20, seed=3).mean)
    assert (found["precision"], found["recall"]) == improved_precision_recall(x, y)
    assert (found["density"], found["coverage"]) == density_coverage(x, y)
    assert report["fid[columns-1]"]["standard_error"] > 0
    assert report["kid[columns-1]"]["deviation"] > 0


def test_what_stands_with_every_number(report):
    floor = fid(columns(TRAIN), columns(REAL))
    for entry in report.values():
        assert f"50 real against 40 generated; floor (real train to real test) {floor:.4g}" in entry["protocol"]
        assert entry["protocol"].endswith("features columns-1, resize none; sample seed 3")
        assert {"value", "unit", "published"} <= set(entry)
    assert "100 subsets of 20" in report["kid[columns-1]"]["protocol"]
    (without,) = sample_quality(REAL, GENERATED, SETTING._replace(metrics=("fid",))).values()
    assert "floor" not in without["protocol"]


def test_the_distance_alone_is_streamed():
    seen = []
    extractor = EXTRACTOR._replace(extract=lambda images: seen.append(len(images)) or columns(images))
    many = np.concatenate([REAL] * 5)
    report = sample_quality(many, GENERATED, Setting(extractor, metrics=("fid",)), TRAIN)
    assert seen == [100, 100, 50, 40, 50]
    np.testing.assert_allclose(report["fid[columns-1]"]["value"], fid(columns(many), columns(GENERATED)), rtol=1e-9)
    assert f"{fid(columns(TRAIN), columns(many)):.4g}" in report["fid[columns-1]"]["protocol"]


def test_jpeg_is_a_number_of_another_name():
    setting = SETTING._replace(jpeg_quality=50, metrics=("fid",))
    ((name, entry),) = sample_quality(REAL, GENERATED, setting).items()
    assert name == "fid[columns-1,jpeg50]"
    assert "all images through JPEG of quality 50" in entry["protocol"]
    expected = fid(columns(through_jpeg(REAL, 50)), columns(through_jpeg(GENERATED, 50)))
    np.testing.assert_allclose(entry["value"], expected, rtol=1e-9)


def test_precision_and_recall_of_distributions():
    pytest.importorskip("sklearn", reason="precision and recall of distributions need scikit-learn")
    report = compare(*[Compared(columns(REAL), "images")] * 2, SETTING._replace(metrics=("prd",)))
    assert [entry["value"] > 0.99 for entry in report.values()] == [True, True]
    assert list(report) == ["prd_f8[columns-1]", "prd_f1_8[columns-1]"]
    with pytest.raises(ValueError, match="generated: expected 50 images, as many as real ones, got 40"):
        sample_quality(REAL, GENERATED, Setting(EXTRACTOR))


def test_distance_within_classes():
    x, y = columns(REAL), columns(GENERATED)
    labels = np.repeat([0, 1, 2], [20, 29, 1]), np.repeat([0, 1, 2], [10, 28, 2])
    real, generated = Compared(x, "test images"), Compared(y, "samples")
    ((name, entry),) = class_distance(real, generated, *labels, SETTING).items()
    values = [fid(x[:20], y[:10]), fid(x[20:49], y[10:38])]  # of the third class there is one real image
    assert name == "class_fid[columns-1]"
    np.testing.assert_allclose(entry["value"], np.mean(values), rtol=1e-9)
    np.testing.assert_allclose(entry["standard_error"], np.std(values, ddof=1) / 2**0.5, rtol=1e-9)
    assert "mean over 2 classes of 10 to 28 images; 50 test images against 40 samples" in entry["protocol"]
    assert class_distance(real, generated, labels[0], labels[1] + 5, SETTING) == {}


def test_the_centre_alone_is_compared():
    wide = [np.pad(images, ((0, 0), (2, 2), (3, 3), (0, 0)), constant_values=9) for images in (REAL, GENERATED)]
    setting = SETTING._replace(metrics=("fid",))
    plain = sample_quality(REAL, GENERATED, setting)
    cropped = sample_quality(*wide, setting._replace(crop=REAL.shape[1]))
    (entry,), (whole,) = cropped.values(), plain.values()
    assert entry["value"] == whole["value"]
    assert f"centres of {REAL.shape[1]}x{REAL.shape[1]}" in entry["protocol"]
    with pytest.raises(UserError, match="sample_quality.crop: expected at most the side of"):
        sample_quality(*wide, setting._replace(crop=99))
