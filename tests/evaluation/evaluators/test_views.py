"""Evaluation of conditional models on toy views: likelihood, coverage and predictions against dense Gaussians."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm, t

from exflow.config import base_config
from exflow.core import student_t_process
from exflow.data.contexts import known_context
from exflow.errors import UserError
from exflow.evaluation import encoding, evaluate, validate
from exflow.evaluation.evaluators.views import VIEWS, per_target
from exflow.evaluation.pictures import view_pictures
from exflow.evaluation.scoring import views
from exflow.model import Model
from tests.core.registry import COMPILED
from tests.evaluation.toy import ToyElement, toy_model
from tests.evaluation.toy_data import image_sets, predictive_log_prob
from tests.evaluation.toy_views import COVARIANCE, DIM, PARAMS, SHIFT, VARIANCE, conditional_toy, view_sets

MODEL, SETS = conditional_toy(), view_sets()


def config_with(**overrides):
    config = base_config("bruno")
    config.data.rotate = False
    config.evaluation.update(nll_set_size=6, batch_size=16, num_sample_rows=3)
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in overrides.items()})
    return config


def latents(rows):
    """Latents of images without noise, float64."""
    pixels = SETS.images.reshape(-1, DIM)[rows].astype(np.float64)
    return (pixels + 0.5 - 128) / 64 - SETS.context[rows].astype(np.float64) @ SHIFT


def test_sets_of_views():
    sets = views.draw_view_sets(SETS, 6, 0)
    assert sets.numbers == (0, 1, 2, 4)  # 8 of 6 views cannot be given
    assert sets.first_target == 4
    assert sets.rows.shape == (12, 6)
    assert sets.mask.all()
    assert sorted(sets.rows.ravel()) == list(range(72))
    np.testing.assert_array_equal(sets.rows // 12, np.repeat(np.arange(6), 2)[:, None].repeat(6, 1))
    assert views.draw_view_sets(SETS, 6, 0, (3,)).numbers == (0, 3)
    ragged = SETS._replace(count=np.array([12, 12, 12, 12, 12, 3]))
    left = views.draw_view_sets(ragged, 12, 0)
    assert left.numbers == (0, 1, 2, 4, 8)
    assert set(left.rows[:, 0] // 12) == {0, 1, 2, 3, 4}  # the object of three views has no target
    with pytest.raises(UserError, match="toy_views/test: expected objects of two views or more, got at most 1"):
        views.draw_view_sets(SETS._replace(count=np.ones(6, int)), 6, 0)


def test_scores_equal_the_dense_predictive_and_coverage_the_normal_quantiles():
    elements = encoding.encode_split(MODEL, PARAMS, None, SETS, (0,))
    sets = views.draw_view_sets(SETS, 6, 0)
    for number in sets.numbers:
        scores = views.score(MODEL, PARAMS, elements, sets, number)
        assert scores.log_prob.shape == (12, 2)
        for place in (0, 7):
            rows = np.asarray(SETS.index).reshape(-1)[sets.rows[place]]
            seen, target = latents(rows[:number]), latents(rows[5])
            expected = predictive_log_prob(seen, target, PARAMS) + DIM * np.log(1 / 64)
            np.testing.assert_allclose(scores.log_prob[place, 1], expected, rtol=1e-5)
            weight = COVARIANCE / (VARIANCE - COVARIANCE + number * COVARIANCE)
            deviation = np.sqrt((VARIANCE - COVARIANCE) * (1 + weight))
            residual = np.abs(target - weight * seen.sum(axis=0)) / deviation
            inside = [(residual <= norm.ppf(0.5 + half)).mean() for half in (0.25, 0.45)]
            np.testing.assert_allclose(scores.coverage[place, 1], inside)


def test_coverage_of_a_student_t_predictive():
    params = student_t_process.from_moments(*(jnp.full(3, value) for value in (0.1, 1.0, 0.3, 5.0)))
    empty = student_t_process.init_state(params, (1,))
    state = COMPILED["student_t_process"].update_set(params, empty, jnp.ones((1, 2, 3)))
    model = toy_model()
    model = model._replace(process=model.process._replace(predictive=student_t_process.predictive))
    law = COMPILED["student_t_process"].predictive(params, state)
    z = np.float32(np.linspace(-2, 3, 21)[None, :, None] * np.ones((1, 1, 3)))
    found = jax.jit(functools.partial(views.coverage, model))(params, state, ToyElement(z, np.zeros((1, 21))))
    nu, scale = 7.0, np.sqrt(np.asarray(law.variance)[0, 0] * 5 / 7)
    residual = np.abs(z[0, :, 0] - np.asarray(law.mean)[0, 0]) / scale
    for place, half in enumerate((0.25, 0.45)):
        np.testing.assert_array_equal(found[0, :, place], residual <= t.ppf(0.5 + half, nu))


def test_predictions_are_the_decoded_means():
    elements = encoding.encode_split(MODEL, PARAMS, None, SETS, (0,))
    sets = views.draw_view_sets(SETS, 6, 0)
    images = np.asarray(SETS.index).reshape(-1)[sets.rows]
    context = SETS.context[images[:, 4:]]
    predicted = views.predict(MODEL, PARAMS, elements, sets, 2, context, batch_size=6)
    assert predicted.shape == (12, 2, 2, 3, 1)
    weight = COVARIANCE / (VARIANCE - COVARIANCE + 2 * COVARIANCE)
    for place in (0, 5, 11):
        mean = weight * latents(images[place, :2]).sum(axis=0) + context[place, 1] @ SHIFT
        pixels = np.clip(np.floor(mean * 64 + 128), 0, 255)
        assert np.abs(predicted[place, 1].reshape(-1) - pixels).max() <= 1  # rounding


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    workdir, lines = tmp_path_factory.mktemp("views"), []
    config = config_with(evaluation__noise_draws=2)
    return workdir, lines, evaluate(config, workdir, MODEL, PARAMS, 3, {"test": SETS}, notify=lines.append)


def test_results(evaluated):
    workdir, _, content = evaluated
    results = json.loads((workdir / "results.json").read_text())["results"]
    kinds = ("nll", "bits_per_dim", "coverage_50", "coverage_90", "mse", "ssim")
    expected = {f"test_{kind}/given_{number}" for kind in kinds for number in (0, 1, 2, 4)}
    assert set(results) == expected | {f"test_nll_gain/given_{number}" for number in (1, 2, 4)}
    nll = [results[f"test_nll/given_{number}"]["value"] for number in (0, 1, 2, 4)]
    assert nll == sorted(nll, reverse=True)  # more views tell more
    np.testing.assert_allclose(results["test_nll_gain/given_4"]["value"], nll[0] - nll[3], rtol=1e-6)
    error = [results[f"test_mse/given_{number}"]["value"] for number in (0, 1, 2, 4)]
    assert error == sorted(error, reverse=True)
    for number in (0, 4):  # data from the model itself
        for interval in (50, 90):
            entry = results[f"test_coverage_{interval}/given_{number}"]
            assert abs(entry["value"] - interval) < 5 * max(entry["standard_error"], 2)
    one = results["test_nll/given_1"]
    assert one["unit"] == "nats/image"
    assert "-log p(view | 1 view of the object); 24 target views of 6 test objects, 2x3x1" in one["protocol"]
    assert "2 noise draws" in one["protocol"]
    np.testing.assert_allclose(results["test_bits_per_dim/given_1"]["value"], one["value"] / (6 * np.log(2)))
    assert content["results"].keys() == results.keys()


def test_standard_error_is_over_objects():
    values = np.array([[1.0, 2.0], [3.0, 9.0], [5.0, 5.0]])
    exists = np.array([[True, True], [True, False], [True, True]])
    estimate = per_target(values, exists, np.array([4, 4, 9]))
    np.testing.assert_allclose(estimate.value, (1 + 2 + 3 + 5 + 5) / 5)
    residual = np.array([6 - 3 * 3.2, 10 - 2 * 3.2])
    np.testing.assert_allclose(estimate.standard_error, np.sqrt((residual**2).sum() * 2) / 5)


@pytest.mark.parametrize("num_given", [0, 1, 3])
def test_validation(num_given):
    model = MODEL._replace(sets=MODEL.sets._replace(num_given=num_given))
    values = validate(config_with(), model, PARAMS, SETS)
    assert set(values) == VIEWS.metrics(config_with(), model).keys()
    numbers = sorted({0, 1, 2, 4, num_given})
    assert set(values) == {"nll", "nll_prior", "bits_per_dim"} | {f"nll_given_{number}" for number in numbers}
    assert values["nll_prior"] == values["nll_given_0"]
    if num_given:
        assert values["nll"] == values[f"nll_given_{num_given}"]
    else:  # mean over positions 1..6 of every set
        assert values["nll_given_4"] < values["nll"] < values["nll_prior"]


def test_pictures(evaluated, tmp_path):
    workdir, lines, _ = evaluated
    names = {path.name for path in (workdir / "samples").iterdir()}
    expected = {f"{name}{kind}.png" for name in ("views_1", "views_4", "prior") for kind in ("", "_coherent")}
    assert names == expected
    assert any("6 pictures in" in line for line in lines)
    with Image.open(workdir / "samples" / "views_1.png") as image:
        assert image.mode == "RGB"
        pixels = np.asarray(image)
    frame = (pixels == view_pictures.FRAME_COLOR).all(axis=-1)
    assert frame.any()
    nothing = config_with(evaluation__num_sample_rows=0)
    assert view_pictures.write_view_samples(nothing, tmp_path, MODEL, PARAMS, SETS, None, print) == []


def test_chosen_views_are_sorted_by_angle():
    rows = view_pictures.choose_views(SETS, 3)
    assert rows.shape == (3, 12)
    angles = view_pictures.degrees(SETS.context[rows])
    np.testing.assert_allclose(angles, np.broadcast_to(np.arange(12) * 30.0, (3, 12)))
    few = view_pictures.choose_views(view_sets(2, 30), 5)
    np.testing.assert_allclose(view_pictures.degrees(view_sets(2, 30).context[few])[0], np.arange(12) * 30 // 12 * 12.0)


def test_rows_of_a_coherent_picture_are_one_object():
    states = jax.tree.map(lambda leaf: np.asarray(leaf)[None], MODEL.sets.init_state(PARAMS))
    context = np.zeros((1, 200, 2), np.float32)
    for coherent, expected in ((True, VARIANCE - COVARIANCE), (False, VARIANCE)):  # variance inside a row
        grid = view_pictures._sample_views(MODEL, PARAMS, states, jax.random.key(0), context, coherent, num_rows=30)
        assert grid.shape == (1, 30, 200, 2, 3, 1)
        z = (grid.reshape(30, 200, DIM).astype(np.float64) - 127.5) / 64
        np.testing.assert_allclose(z.var(axis=1, ddof=1).mean(), expected, rtol=0.1)


def test_sheet_places_and_frames_views():
    rows = [np.full((3, 8, 8, 1), value, np.uint8) for value in (10, 200)]
    framed = np.array([False, True, False])
    pixels = np.asarray(view_pictures.sheet(rows, framed, ["0", "120", "240"]))
    cell = 7 * 8 + 2 * view_pictures.FRAME
    assert pixels.shape == (14 + 2 * cell, 3 * cell, 3)
    assert tuple(pixels[14, cell]) == view_pictures.FRAME_COLOR
    assert tuple(pixels[14, 0]) == tuple(pixels[14 + cell, cell]) == (255, 255, 255)
    assert tuple(pixels[14 + cell // 2, cell // 2]) == (10, 10, 10)
    assert tuple(pixels[14 + cell + cell // 2, cell // 2]) == (200, 200, 200)
    assert (pixels[:14] < 200).any()  # the titles


def test_data_without_context_is_refused():
    bare = image_sets([6, 6], image_shape=(2, 3, 1))
    with pytest.raises(UserError, match=r"toy/test: expected 2 numbers known of every image.*got 0. Use a data set of"):
        validate(config_with(), MODEL, PARAMS, bare)
    with pytest.raises(ValueError, match="rotations: quarter turns would contradict the context"):
        encoding.encode_split(MODEL, PARAMS, None, SETS, (0, 2))
    model: Model = toy_model((2, 3, 1))
    assert known_context(SETS, model.context_dim) is None  # ignored
