"""Extractors of features: batches, the bundled classifier, functions of the user, and Inception by a stand-in graph."""

import hashlib
import json
import sys

import jax
import numpy as np
import pytest

from exflow.data.pipelines.tfdata import import_tensorflow
from exflow.errors import UserError
from exflow.evaluation.metrics import classifier
from exflow.evaluation.metrics.extractor import Extractor, feature_batches, features_of
from exflow.evaluation.metrics.features import find
from exflow.evaluation.metrics.inception import inception
from exflow.evaluation.metrics.jpeg import through_jpeg

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 6, 6, 1), dtype=np.uint8)


def brightness(images):
    """What a user might write."""
    return images.reshape(len(images), -1)[:, :3].astype(float)


def test_batches_drop_no_remainder():
    sizes = []
    extractor = Extractor("first three pixels", lambda images: sizes.append(len(images)) or brightness(images))
    np.testing.assert_array_equal(features_of(extractor, IMAGES, 3), brightness(IMAGES))
    assert sizes == [3, 3, 1]


def test_images_and_functions_that_do_not_fit():
    def batches(images, function=brightness):
        return list(feature_batches(Extractor("mine", function), images))

    with pytest.raises(TypeError, match="images: expected uint8 pixels 0..255, got float64. Round and clip them."):
        batches(IMAGES / 255.0)
    with pytest.raises(ValueError, match=r"images: expected \[images, height, width, channels\], got \(7, 6, 6\)"):
        batches(IMAGES[..., 0])
    with pytest.raises(ValueError, match=r"expected features \[7, dim\] of mine, got \(6, 6, 1\)"):
        batches(IMAGES, lambda images: images[0])


def test_a_function_of_the_user(monkeypatch):
    monkeypatch.setitem(sys.modules, "mine", sys.modules[__name__])
    extractor = find("mine:brightness")
    assert extractor.name == "mine:brightness"
    np.testing.assert_array_equal(features_of(extractor, IMAGES), brightness(IMAGES))
    with pytest.raises(UserError, match="'mine' has no function 'darkness'. Correct the name."):
        find("mine:darkness")
    with pytest.raises(UserError, match="'no_such_module' cannot be imported .* add its folder to PYTHONPATH"):
        find("no_such_module:f")
    with pytest.raises(UserError, match="extractor: expected 28x28, the path of classify_image_graph_def.pb"):
        find("14x14")


def test_the_bundled_classifier_is_named_by_its_file():
    extractor, digest = find("28x28"), hashlib.sha256(classifier.FILE.read_bytes()).hexdigest()
    assert extractor.name == f"28x28-{digest[:8]}"
    description = classifier.description()
    assert description["sha256"] == digest
    assert min(description["test_accuracy"].values()) > 0.85
    assert len(description["commit"]) == 40  # of a clean checkout
    assert classifier.FILE.stat().st_size < 2 * 2**20
    with np.load(classifier.FILE, allow_pickle=False) as stored:
        assert {stored[name].dtype for name in stored.files} == {np.dtype(np.float16)}
    json.dumps(description)


def test_features_of_the_classifier_depend_on_the_image_alone():
    extractor = find("28x28")
    images = np.random.default_rng(1).integers(0, 256, (103, 28, 28, 1), dtype=np.uint8)
    whole = extractor.extract(images)
    assert whole.shape == (103, 64)
    np.testing.assert_allclose(extractor.extract(images[100:]), whole[100:], rtol=1e-4, atol=1e-4)
    direct, logits = classifier.features_and_logits(classifier.load(), images[:2])
    np.testing.assert_allclose(direct, whole[:2], rtol=1e-4, atol=1e-4)
    assert logits.shape == (2, 20)
    assert extractor.extract(IMAGES).shape == (7, 64)  # resized
    with pytest.raises(UserError, match="28x28 takes grey images, got 3 channels. Take Inception or your own."):
        extractor.extract(np.repeat(IMAGES, 3, axis=-1))


def test_parameters_are_read_back(tmp_path):
    params = classifier.load()
    again = classifier.load(classifier.save(params, tmp_path / "copy.npz"))
    jax.tree.map(np.testing.assert_array_equal, params, again)
    assert (tmp_path / "copy.npz").read_bytes() == classifier.FILE.read_bytes()  # so that equal weights are equal names
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"broken.npz: cannot be read .* Install exflow again."):
        classifier.load(tmp_path / "broken.npz")


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A graph with the nodes of Inception: resized to 4x4, brought to [-1, 1], the mean of each channel. 3 features."""
    v1 = import_tensorflow().compat.v1
    with v1.Graph().as_default() as graph:
        image = v1.placeholder("float32", (None, None, 3), name="Cast")
        resized = v1.image.resize_bilinear(v1.expand_dims(image, 0, name="ExpandDims"), (4, 4), name="ResizeBilinear")
        scaled = (resized - 128.0) / 128.0
        v1.nn.avg_pool(scaled, 4, 1, "VALID", name="pool_3")
    path = tmp_path_factory.mktemp("graph") / "classify_image_graph_def.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def test_inception_runs_the_graph_of_a_file(stand_in):
    extractor = inception(str(stand_in), 3)
    digest = hashlib.sha256(stand_in.read_bytes()).hexdigest()
    assert extractor.name == f"inception-2015-12-05-{digest[:8]}"
    rgb = np.random.default_rng(2).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    expected = (rgb.mean(axis=(1, 2), dtype=np.float64) - 128) / 128
    np.testing.assert_allclose(features_of(extractor, rgb, 2), expected, atol=1e-6)
    grey = extractor.extract(rgb[..., :1])
    np.testing.assert_allclose(grey, np.repeat(expected[:, :1], 3, axis=1), atol=1e-6)
    large = np.repeat(np.repeat(rgb, 2, axis=1), 2, axis=2)  # bilinear resizing of the graph takes every second pixel
    np.testing.assert_allclose(extractor.extract(large), expected, atol=1e-6)
    with pytest.raises(UserError, match="Inception takes grey or RGB images, got 2 channels"):
        extractor.extract(rgb[..., :2])


def test_files_that_are_not_inception(stand_in, tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*nowhere.pb'. Fetch http.*inception-2015-12-05.tgz"):
        find(str(tmp_path / "nowhere.pb"))
    with pytest.raises(UserError, match="there is no file 'inception'. Fetch http"):
        find("inception")
    with pytest.raises(UserError, match="gives 3 features, Inception 2048"):
        find(str(stand_in))
    (tmp_path / "text.pb").write_text("no graph")
    with pytest.raises(UserError, match="text.pb is no TensorFlow graph"):
        find(str(tmp_path / "text.pb"))
    (tmp_path / "empty.pb").write_bytes(b"")
    with pytest.raises(UserError, match=r"empty.pb lacks the nodes ExpandDims \(ExpandDims\), ResizeBilinear"):
        find(str(tmp_path / "empty.pb"))


def test_jpeg_changes_images_and_keeps_their_shape():
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8)[None, ..., None] * 8
    for images in (smooth, np.repeat(smooth, 3, axis=-1)):
        after = through_jpeg(images)
        assert after.shape == images.shape
        assert 0 < np.abs(after.astype(int) - images).max() < 40
        better = through_jpeg(images, 100)
        assert np.abs(better.astype(int) - images).mean() < np.abs(after.astype(int) - images).mean()
