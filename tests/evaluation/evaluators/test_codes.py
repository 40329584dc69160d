"""Evaluators of models with codes: what is lost against the pictures themselves, and how many bits are needed."""

import math

import numpy as np
import pytest

from exflow.config import base_config
from exflow.errors import UserError
from exflow.evaluation import evaluate_split, validate
from tests.evaluation.bright import CODES, bright_model, fitted_codes
from tests.evaluation.toy_data import image_sets

SETS = image_sets([4, 3], (2, 2, 1), spread=100)
IMAGES = np.asarray(SETS.images, np.float64)
METHODS = ("independent", "autoregressive")


def config_with(**sampling):
    config = base_config("lbae")
    config.training.best_metric = "reconstruction"
    config.sampling.update(sampling)
    return config


def test_what_is_lost():
    config = config_with()
    entries = evaluate_split(config, bright_model(), {}, SETS, "test", None, lambda line: None)
    assert set(entries) == {"test_reconstruction_mse", "test_reconstruction", "test_reconstruction_ssim"}
    squares = ((IMAGES - np.where(IMAGES >= 128, 255, 0)) ** 2).mean(axis=(1, 2, 3)) / 255**2
    np.testing.assert_allclose(entries["test_reconstruction_mse"]["value"], squares.mean(), rtol=1e-9)
    assert entries["test_reconstruction"]["unit"] == "grey/image"
    mean = (IMAGES.sum(axis=(1, 2, 3)) / 255).mean()
    np.testing.assert_allclose(entries["test_reconstruction"]["value"], mean, rtol=1e-6)
    found = validate(config, bright_model(), {}, SETS)
    np.testing.assert_allclose(
        [found["reconstruction_mse"], found["reconstruction"]], [squares.mean(), mean], rtol=1e-6
    )


def test_how_many_bits_codes_need():
    config, fitted = config_with(densities=METHODS), fitted_codes()
    entries = evaluate_split(config, bright_model(), {}, SETS, "test", None, lambda line: None, fitted)
    found = {name.partition("/")[2]: one["value"] for name, one in entries.items() if "code_bits" in name}
    assert list(found) == ["raw", "bitwise", *METHODS]
    bits = IMAGES.reshape(-1, 4) >= 128
    share = bits.mean(axis=0)
    entropies = [-(p * math.log2(p) + (1 - p) * math.log2(1 - p)) if 0 < p < 1 else 0.0 for p in share]
    np.testing.assert_allclose(found["bitwise"], sum(entropies), rtol=1e-9)
    assert found["raw"] == 4
    p = (CODES.sum(axis=0) + 0.5) / (len(CODES) + 1)  # of training, smoothed by half an observation
    np.testing.assert_allclose(found["independent"], -np.where(bits, np.log2(p), np.log2(1 - p)).sum(axis=1).mean())


def test_methods_without_probabilities_are_refused():
    message = "config.sampling.densities: expected some of independent, mixture, autoregressive, got 'cov'"
    with pytest.raises(UserError, match=message):
        evaluate_split(config_with(densities=("cov",)), bright_model(), {}, SETS, "test", None, print, fitted_codes())
    with pytest.raises(UserError, match="bright: nothing was fitted to its codes. Finish training first"):
        evaluate_split(config_with(densities=METHODS), bright_model(), {}, SETS, "test", None, lambda line: None)
