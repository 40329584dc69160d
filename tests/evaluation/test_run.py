"""The whole evaluation of a toy model: names, values, files, skipped settings and noise draws."""

import errno
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from exflow.config import base_config
from exflow.errors import UserError
from exflow.evaluation import encoding, evaluate, registry, results, validate
from exflow.evaluation.pictures.grids import grid_picture
from tests.evaluation.toy import toy_model, toy_params
from tests.evaluation.toy_data import image_sets, joint_log_prob

MODEL, PARAMS = toy_model(), toy_params(4, variance=0.7, covariance=0.6)
SETS = image_sets([5] * 6)


def config_with(**overrides):
    config = base_config("bruno")
    values = {"image_size": 2}
    config.update_from_flattened_dict({f"data.{key}": value for key, value in values.items()})
    overrides = {"settings": ((2, 1), (4, 2)), "num_trials": 3, "batch_size": 16, "nll_set_size": 5} | overrides
    config.update_from_flattened_dict({f"evaluation.{key}": value for key, value in overrides.items()})
    return config


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    workdir, lines = tmp_path_factory.mktemp("run"), []
    config = config_with(settings=((2, 1), (4, 2), (7, 1), (2, 5)), noise_draws=2, num_sample_rows=3)
    content = evaluate(config, workdir, MODEL, PARAMS, 12, {"test": SETS}, info={"x": 1}, notify=lines.append)
    return workdir, lines, content


def test_names_and_units(evaluated):
    _, _, content = evaluated
    kinds = ("few_shot", "few_shot_original", "few_shot_midpoint")
    expected = {f"{kind}/{setting}" for kind in kinds for setting in ("2way_1shot", "4way_2shot")}
    expected |= {"test_nll", "test_nll_prior", "test_bits_per_dim", "test_bits_per_dim_prior"}
    expected |= {"test_nll_bound", "test_nll_prior_bound"}
    assert set(content["results"]) == expected
    nll, bits = content["results"]["test_nll"], content["results"]["test_bits_per_dim"]
    np.testing.assert_allclose(bits["value"], nll["value"] / (4 * np.log(2)))
    assert "6 sets of 5 test images" in nll["protocol"]
    accuracy = content["results"]["few_shot/2way_1shot"]
    assert accuracy["unit"] == "%"
    assert "3 trials of 24 one-query episodes" in accuracy["protocol"]
    assert accuracy["value"] > 70  # chance is 50
    assert "not the paper's protocol" in content["results"]["few_shot_midpoint/2way_1shot"]["protocol"]


def test_files_and_lines(evaluated):
    workdir, lines, content = evaluated
    stored = json.loads((workdir / "results.json").read_text())
    assert stored["step"] == 12
    assert stored["x"] == 1
    assert stored["results"].keys() == content["results"].keys()
    names = {path.name for path in (workdir / "samples").iterdir()}
    common = {"conditional.png", "conditional_coherent.png", "prior.png", "prior_coherent.png", "predictive.png"}
    assert names == common | {"class_100.png", "class_102.png", "class_105.png"}
    invented = np.zeros((6, 4, 2, 2, 1), np.uint8)  # a row for every invented class
    expected = grid_picture(invented, names=[f"set {number}" for number in range(1, 7)])
    with Image.open(workdir / "samples" / "prior_coherent.png") as picture:
        assert picture.size == expected.size
    assert "7-way 1-shot skipped: test has 6 classes of at least 2 images" in lines
    assert "2-way 5-shot skipped: test has 0 classes of at least 6 images" in lines
    assert sum(line.startswith("encoding test images, noise draw 1") for line in lines) <= 1
    assert "test_nll_bound" in lines[-1]


def test_validation_likelihood_equals_the_dense_joint():
    config = config_with()
    values = validate(config, MODEL, PARAMS, SETS)
    registry.check_best_metric(config, MODEL)
    assert set(values) == {name for one in registry.chosen(config, MODEL) for name in one.metrics(config, MODEL)}
    assert set(values) == {"nll", "nll_prior", "bits_per_dim", "few_shot/2way_1shot", "few_shot/4way_2shot"}
    many = [validate(config_with(), MODEL, PARAMS, SETS)["nll"] for _ in range(2)]
    assert many[0] == many[1] == values["nll"]  # fixed noise
    midpoint = []
    for rows in SETS.index:
        elements = MODEL.encode(PARAMS, None, jnp.asarray(SETS.images[rows]))
        midpoint.append(-joint_log_prob(elements.z, PARAMS) - float(elements.log_det.sum()))
    np.testing.assert_allclose(values["nll"], np.sum(midpoint) / 30, rtol=0.01)
    assert 0.5 < values["few_shot/2way_1shot"] <= 1


def test_more_draws_of_the_noise_tighten_the_bound(evaluated):
    results = evaluated[2]["results"]
    assert results["test_nll_bound"]["value"] <= results["test_nll"]["value"]
    assert results["test_nll_prior_bound"]["value"] <= results["test_nll_prior"]["value"]


def test_unrotated_data_and_other_splits(tmp_path):
    config = config_with(splits=("validation", "test"), settings=((2, 1),), num_sample_rows=0)
    config.data.rotate = False
    content = evaluate(config, tmp_path, MODEL, PARAMS, 0, {"test": SETS, "validation": SETS}, notify=lambda line: None)
    assert "3 trials of 6 one-query episodes" in content["results"]["few_shot/2way_1shot"]["protocol"]
    same = content["results"]["validation_few_shot/2way_1shot"]["value"]
    assert same == content["results"]["few_shot/2way_1shot"]["value"]
    assert "validation_nll" in content["results"]
    assert not (tmp_path / "samples").exists()


def test_a_model_that_gives_nan_is_reported_and_not_rewarded(tmp_path):
    def encode(params, key, x):
        return jax.tree.map(lambda leaf: leaf * jnp.nan, MODEL.encode(params, key, x))

    broken = MODEL._replace(encode=encode)
    config = config_with(settings=((2, 1),), num_sample_rows=0)
    results = evaluate(config, tmp_path, broken, PARAMS, 0, {"test": SETS}, notify=lambda line: None)["results"]
    assert results["few_shot/2way_1shot"]["value"] == 0
    assert results["few_shot_original/2way_1shot"]["value"] == 100
    assert json.loads((tmp_path / "results.json").read_text())["results"]["test_nll"]["value"] is None


def test_a_picture_that_fails_takes_no_number_with_it(tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no more space")

    monkeypatch.setitem(registry.EVALUATORS, "samples", registry.EVALUATORS["samples"]._replace(draw=fail))
    lines, config = [], config_with(settings=())
    with pytest.raises(RuntimeError, match="no more space"):
        evaluate(config, tmp_path, MODEL, PARAMS, 0, {"test": SETS}, notify=lines.append)
    assert json.loads((tmp_path / "results.json").read_text())["results"]["test_nll"]["value"] > 0
    assert "test_nll" in lines[-1]


def test_evaluators_share_the_encodings(tmp_path, monkeypatch):
    calls, real = [], encoding.encode_images

    def encode_images(model, params, key, *arguments, **options):
        calls.append(key)
        return real(model, params, key, *arguments, **options)

    monkeypatch.setattr(encoding, "encode_images", encode_images)
    evaluate(config_with(noise_draws=2, num_sample_rows=0), tmp_path, MODEL, PARAMS, 0, {"test": SETS}, notify=list)
    assert len(calls) == 3  # two noise draws, and no noise
    calls.clear()
    validate(config_with(), MODEL, PARAMS, SETS)
    assert len(calls) == 1


@pytest.mark.usefixtures("evaluated")  # compiled there
def test_a_full_disk_takes_no_number_with_it(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(results, "write_results", full)
    config, lines = config_with(settings=(), noise_draws=2), []
    with pytest.raises(UserError, match=r"results.json cannot be written \(No space .*\), the table is all"):
        evaluate(config, tmp_path, MODEL, PARAMS, 12, {"test": SETS}, notify=lines.append)
    assert "test_nll_prior" in lines[-1]
