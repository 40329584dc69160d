"""Imputation through the Python API, the evaluator, the mode and its picture."""

import jax
import numpy as np
import pytest
from PIL import Image

from exflow import modes
from exflow.api import TrainedModel
from exflow.errors import UserError
from exflow.evaluation import evaluate_split, validate
from exflow.evaluation.pictures.imputations import write_imputations
from exflow.evaluation.registry import chosen
from exflow.models.registry import build
from tests.evaluation.toy import toy_model, toy_params
from tests.evaluation.toy_data import image_sets
from tests.models.matnet.small import BARE, config_of
from tests.models.parameters import random_params

SHAPE = (4, 4, 1)
SETS = image_sets([4, 2], SHAPE)
HALF = np.repeat([[True, True, False, False]], 4, axis=0)


@pytest.fixture(scope="module")
def config():
    found = config_of(BARE | {"levels": "2-3-1,4-4-0", "conditional": "quadrants", "likelihood": "gaussian_pixels"})
    found.data.rotate, found.evaluation.num_sample_rows = False, 3
    found.training.best_metric, found.evaluation.marginal_samples = "imputation_nelbo", 4
    return found


@pytest.fixture(scope="module")
def model(config):
    core = build(config, SHAPE)
    return TrainedModel(core, random_params(core, config), config)


def test_observed_pixels_stay_and_hidden_ones_are_drawn(model):
    images = SETS.images[:3]
    drawn = model.impute(images, HALF, 0, num_samples=3)
    assert (drawn.shape, drawn.dtype) == ((3, 3, *SHAPE), np.uint8)
    np.testing.assert_array_equal(drawn[:, :, HALF], np.broadcast_to(images[:, HALF], (3, 3, 8, 1)))
    assert (drawn.std(axis=0)[:, ~HALF] > 0).any()
    changed = np.where(HALF[..., None], images, 255 - images)
    np.testing.assert_array_equal(model.impute(changed, HALF, jax.random.key(0), 3)[:, :, ~HALF], drawn[:, :, ~HALF])
    each = np.broadcast_to(HALF[..., None], images.shape)
    np.testing.assert_array_equal(model.impute(images[:, None], each[:, None], 0, 3), drawn[:, :, None])
    np.testing.assert_array_equal(
        model.impute(images, np.ones(SHAPE, bool), 0, 3), np.broadcast_to(images, drawn.shape)
    )


def test_what_cannot_be_imputed(model):
    with pytest.raises(
        UserError, match=r"has no imputation of hidden pixels. Train one of configs/matnet_imputation.py"
    ):
        TrainedModel(toy_model(), toy_params(4)).impute(SETS.images, HALF, 0)
    with pytest.raises(TypeError, match="observed: expected bool, True where a pixel is seen"):
        model.impute(SETS.images, HALF.astype(float), 0)
    with pytest.raises(ValueError, match=r"observed: expected \[4, 4\] or \[6, 4, 4\], got \(4, 3\)"):
        model.impute(SETS.images, HALF[:, :3], 0)
    with pytest.raises(ValueError, match="num_samples: expected at least 1"):
        model.impute(SETS.images, HALF, 0, num_samples=0)


@pytest.mark.slow
def test_results_say_what_was_hidden(config, model):
    assert [one.name for one in chosen(config, model.core)][:1] == ["imputation"]
    options = config.copy_and_resolve_references()
    options.evaluation.evaluators = ("imputation",)
    entries = evaluate_split(options, model.core, model.params, SETS, "test", None, lambda line: None)
    assert list(entries) == ["test_imputation_nelbo", "test_imputation_nll"]
    for entry in entries.values():
        assert "-log p(hidden pixels | observed ones), a random quadrant hidden; 6 test images" in entry["protocol"]
        assert entry["unit"] == "nats/image"
        assert entry["standard_error"] > 0
    assert set(validate(options, model.core, model.params, SETS)) == {"imputation_nelbo"}


def test_pictures_show_image_mask_draws_and_mean(config, model, tmp_path):
    (path,) = write_imputations(config, tmp_path, model.core, model.params, SETS, notify=lambda line: None)
    assert path == tmp_path / "samples" / "imputations.png"
    with Image.open(path) as picture:
        width, height = picture.size
    assert (width - 1) % 9 == 0  # image, observed, six draws and their mean
    assert (height - 15) % 3 == 0


def test_the_mode_refuses_other_models(monkeypatch, config, tmp_path):
    trained = modes._Trained(toy_model(), toy_params(4), 0, {}, {"test": SETS}, None)
    monkeypatch.setattr(modes, "_trained", lambda config, workdir: trained)
    with pytest.raises(UserError, match="has no imputation of hidden pixels"):
        modes.MODES["impute"](config, tmp_path)
