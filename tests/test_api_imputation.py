"""Imputation through the Python API, the evaluator, the mode and its picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from exflow import modes
from exflow.api import TrainedModel
from exflow.core.observed import beside
from exflow.errors import UserError
from exflow.evaluation import evaluate_split, validate
from exflow.evaluation.evaluators.imputation import errors
from exflow.evaluation.pictures.imputations import write_imputations
from exflow.evaluation.registry import chosen
from exflow.evaluation.run import closing_task
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
    assert list(entries) == ["test_imputation_nelbo", "test_imputation_mse", "test_imputation_nll"]
    for name, entry in entries.items():
        error = name == "test_imputation_mse"
        what = "mean of 32 imputations against the hidden pixels" if error else "-log p(hidden pixels | observed ones)"
        assert f"{what}, a random quadrant hidden; 6 test images" in entry["protocol"]
        assert entry["unit"] == ("(pixel/255)^2" if error else "nats/image")
        assert entry["standard_error"] > 0
        assert not error or 0 < entry["value"] < 1
    assert set(validate(options, model.core, model.params, SETS)) == {"imputation_nelbo"}


def test_squared_errors_are_of_hidden_pixels(config, model):
    """Of a model every second draw of which is the negative of a binary image, the mean is wrong by a half there."""
    rng = np.random.default_rng(0)
    images, observed = rng.choice(np.array([0, 255], np.uint8), (6, *SHAPE)), rng.random((6, 4, 4, 1)) < 0.7

    def sample(params, key, x, observed, num_samples):
        negative = (jnp.arange(num_samples) % 2 == 0).reshape(-1, 1, 1, 1, 1)
        return jnp.where(negative & ~observed[None], 255 - x[None], x[None])

    core = model.core._replace(imputation=model.core.imputation._replace(sample=sample))
    sets = SETS._replace(images=images)
    task = closing_task(config, core, model.params, sets, "test", None, lambda line: None)
    values = np.asarray(beside(jnp.asarray(images / np.float32(255)), jnp.asarray(observed)))[:, None]
    np.testing.assert_allclose(errors(task, values), 0.25, rtol=1e-6)


@pytest.mark.slow
def test_the_mode_opens_a_trained_directory(tmp_path):
    config = config_of(BARE | {"levels": "4-3-1,8-4-0", "conditional": "quadrants", "likelihood": "bernoulli"})
    run = {"steps_per_call": 1, "num_steps": 1, "checkpoint_every": 1, "evaluate_every": 1, "num_devices": 1}
    config.update_from_flattened_dict(
        {f"training.{key}": value for key, value in run.items()}
        | {
            "data.dataset": "glyphs",
            "data.options": "num_train=4, num_validation=2, num_test=2",
            "data.image_size": 8,
            "data.pipeline": "device",
            "data.rotate": False,
            "data.sets_per_batch": 4,
            "data.set_size": 1,
            "evaluation.settings": (),
            "evaluation.num_sample_rows": 2,
            "training.best_metric": "imputation_nelbo",
            "training.quick_compilation": True,
        }
    )
    modes.MODES["train"](config, tmp_path)
    modes.MODES["impute"](config, tmp_path)
    assert (tmp_path / "samples" / "imputations.png").stat().st_size > 0


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
