"""Models that come with exflow: what ships, and that it is what its results describe."""

import json

import jax
import numpy as np
import pytest

import exflow
from exflow import loading
from exflow.data import datasets
from exflow.evaluation import encoding
from exflow.evaluation.scoring import few_shot

MAX_BYTES = 8 * 2**20


@pytest.mark.parametrize("name", loading.bundled_names())
def test_files(name):
    paths = [loading.BUNDLED / f"{name}{ending}" for ending in (".npz", ".json", ".results.json")]
    assert paths[0].stat().st_size <= MAX_BYTES
    with np.load(paths[0], allow_pickle=False) as stored:
        assert {stored[key].dtype.name for key in stored.files} <= {"float16", "float32"}
    description, results = (json.loads(path.read_text()) for path in paths[1:])
    assert results["bundled"] == name
    assert results["config"] == description["config"]
    assert results["step"] == description["info"]["step"]
    assert results["commit"]


@pytest.mark.slow
def test_characters_of_another_alphabet_are_told_apart():
    """Glyphs are no Omniglot: the bundled model has seen neither these characters nor their generator."""
    model = exflow.load("bruno_omniglot")
    test = datasets.load("glyphs", image_size=28)["test"]
    images = test.images[test.index[:20, :6]]
    images = model.preprocess(images.reshape(-1, 28, 28, 1), invert=False).reshape(20, 6, *model.image_shape)
    log_posterior = model.classify(images[:, :5], images[:, 5])
    assert (log_posterior.argmax(axis=1) == np.arange(20)).mean() >= 0.8
    np.testing.assert_allclose(np.exp(log_posterior).sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_results_are_those_of_the_files(omniglot_available):
    model = exflow.load("bruno_omniglot")
    results = json.loads((loading.BUNDLED / "bruno_omniglot.results.json").read_text())["results"]
    data = model.config.data
    test = datasets.load(data.dataset, image_size=data.image_size, resize=data.resize, split=data.split)["test"]
    elements = encoding.encode_split(
        model.core, model.params, jax.random.key(5), test, transform=encoding.downscaling(data.downscale)
    )
    accuracy = few_shot.few_shot_accuracy(model.core, model.params, elements, 20, 1, 2, seed=5).corrected.mean
    expected = results["few_shot/20way_1shot"]["value"] / 100
    deviation = np.sqrt(expected * (1 - expected) / (2 * 1692))
    assert abs(accuracy - expected) < 5 * deviation
