"""Evaluation of models of vectors: units and protocols, and pictures of sets of numbers and of points."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image

from exflow.data.registry import ImageSets
from exflow.evaluation import evaluate, validate
from exflow.evaluation.pictures import vector_pictures
from exflow.evaluation.pictures.sample_files import write_samples
from exflow.models.registry import build
from tests.models.registry import TINY_VECTORS, small_config
from tests.models.test_set_models import batch_of, images

pytestmark = pytest.mark.slow  # many compilations

SETTINGS = {"evaluation__nll_set_size": 4, "evaluation__settings": (), "data__rotate": False}
CONFIG = small_config(**TINY_VECTORS, **SETTINGS, evaluation__num_sample_rows=2)


def vector_sets(dim):
    """Three sets of four vectors."""
    x = np.random.default_rng(0).normal(size=(12, 1, 1, dim)).astype(np.float32)
    index = np.arange(12, dtype=np.int32).reshape(3, 4)
    return ImageSets(x, index, np.full(3, 4, np.int32), np.arange(3, dtype=np.int32), "vectors/test")


@functools.cache
def prepared(dim):
    model = build(CONFIG, (1, 1, dim))
    return model, jax.jit(model.init)(jax.random.key(0), batch_of(images(4, 5, shape=model.image_shape)))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    workdir, lines = tmp_path_factory.mktemp("run"), []
    content = evaluate(CONFIG, workdir, *prepared(1), 3, {"test": vector_sets(1)}, notify=lines.append)
    return workdir / "samples", lines, content["results"]


def test_entries_speak_of_elements_and_have_no_bits(evaluated):
    _, _, results = evaluated
    assert set(results) == {"test_nll", "test_nll_prior"}
    for name, what in (("test_nll", "log p(X) / set size"), ("test_nll_prior", "every element on its own")):
        assert results[name]["unit"] == "nats/element"
        assert what in results[name]["protocol"]
        assert "3 sets of 4 test elements of a class, vectors of 1; 1 draw of the latents" in results[name]["protocol"]
    assert set(validate(CONFIG, *prepared(1), vector_sets(1))) == {"nll", "nll_prior"}
    model, params = prepared(1)
    batch = batch_of(vector_sets(1).images[None])
    assert "bits_per_dim" not in jax.eval_shape(model.loss, params, jax.random.key(0), batch)[1]


@pytest.mark.parametrize(("dim", "rows"), [(1, 1), (2, 2)])
def test_pictures_show_one_panel_per_set(dim, rows, evaluated, tmp_path):
    folder, lines, _ = evaluated
    if dim == 2:
        folder, lines = tmp_path / "samples", []
        write_samples(CONFIG, tmp_path, *prepared(2), vector_sets(2), notify=lines.append)
    assert f"2 pictures in {folder}" in lines
    with Image.open(folder / "conditional.png") as conditional, Image.open(folder / "prior.png") as prior:
        assert conditional.size == (prior.size[0], rows * prior.size[1])
        assert len(np.unique(np.asarray(conditional.convert("L")))) > 10


def test_longer_vectors_have_none(tmp_path):
    lines = []
    assert write_samples(CONFIG, tmp_path, build(CONFIG, (1, 1, 3)), None, vector_sets(3), notify=lines.append) == []
    assert lines == ["no pictures of samples: elements are vectors of 3"]
    assert not list(tmp_path.iterdir())


def test_drawn_sets_follow_the_given_ones_and_their_seed():
    model, params = prepared(2)
    given = vector_sets(2).images[vector_sets(2).index]
    one, again = (vector_pictures.draw_given_sets(model, params, jax.random.key(1), given, 5, 3) for _ in range(2))
    other = vector_pictures.draw_given_sets(model, params, jax.random.key(2), given, 5, 3)
    assert one.shape == (3, 5, 2)
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()
    assert vector_pictures.draw_given_sets(model, params, jax.random.key(1), given[:, :0], 5, 3).shape == (3, 5, 2)
    np.testing.assert_allclose(vector_pictures.shown_ranges(np.array([[[0.0], [1.0]]])), [[-0.098, 1.098]], atol=1e-3)
