"""Every experiment from the command line on a tiny BRUNO: JSON, figures, options, mistakes."""

import argparse
import functools
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import exflow
from exflow import loading
from exflow.config import base_config, to_json
from exflow.data.registry import REGISTRY, LabelledImages, known_data_sets, register
from exflow.errors import UserError
from exflow.models.registry import build
from exflow.training.checkpoint import Checkpoints
from exflow.training.state import TrainState
from experiments import __main__ as command
from experiments import report, robustness, samples, several

pytestmark = pytest.mark.slow  # many compilations

SIZE, CLASSES, COUNT = 4, 6, 16


@pytest.fixture(scope="module", autouse=True)
def data_set():
    """6 classes of noisy copies of a picture in every split."""

    def blobs(image_size: int = SIZE, channels: int = 1) -> LabelledImages:
        rng, shape = np.random.default_rng(0), (image_size, image_size, channels)
        base = rng.integers(30, 226, (3 * CLASSES, *shape))
        labels = np.repeat(np.arange(3 * CLASSES), COUNT).astype(np.int32)
        images = base[labels] + rng.integers(-20, 21, (len(labels), *shape))
        return LabelledImages(images.astype(np.uint8), labels, (labels // CLASSES).astype(np.uint8))

    before = dict(known_data_sets())
    register("blobs", cache=False)(blobs)
    register("coloured", cache=False)(lambda image_size=SIZE: blobs(image_size, 3))
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run that has just been initialised, with learned-looking correlations."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    config = base_config("bruno")
    config.update_from_flattened_dict(
        {
            "data.dataset": "blobs",
            "data.image_size": SIZE,
            "data.rotate": False,
            "data.sets_per_batch": 4,
            "data.set_size": 5,
            "model.bruno.scales": 0,
            "model.bruno.dense_units": 4,
            "model.bruno.dense_couplings": 1,
            "model.bruno.process": "student_t",
        }
    )
    folder.mkdir()
    (folder / "config.json").write_text(to_json(config))
    model, rng = build(config, (SIZE, SIZE, 1)), np.random.default_rng(1)
    like = loading.params_like(model, config)
    params = jax.tree.map(lambda leaf: np.asarray(0.05 * rng.normal(size=leaf.shape), leaf.dtype), like)
    params["process"]["raw_correlation"] = np.linspace(-3, 3, SIZE**2, dtype=np.float32)
    params["process"]["raw_degrees_of_freedom"] += np.float32(2)
    checkpoints = Checkpoints(folder / "checkpoints", best_metric="nll", best_mode="min")
    state = TrainState(np.asarray(7), params, (), (), np.asarray(0), np.asarray(0))
    checkpoints.save(state, {"wall_seconds": 1.0, "image_shape": model.image_shape}, {"nll": 3.0})
    checkpoints.close()
    write_metrics(folder, np.linspace(9, 5, 30))
    return folder


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """The same model object for all tests, so that its functions are compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exflow, "load", functools.cache(exflow.load))
        yield


def write_metrics(folder, losses, num_skipped=0):
    lines = [
        {"step": step, "split": "train", "loss": loss, "nll": loss, "num_skipped": num_skipped}
        for step, loss in enumerate(losses, 1)
    ]
    lines += [{"step": step, "split": "validation", "nll": 10.0 - step, "few_shot/5way_1shot": 0.5} for step in (1, 3)]
    lines.append({"step": 5, "split": "validation", "nll": 8.5, "few_shot/5way_1shot": 0.4})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def run(name, workdir, tmp_path, *options):
    path = command.run([name, f"--model={workdir}", f"--out={tmp_path}", *options])
    content = json.loads(path.read_text())
    assert content["experiment"] == name
    for figure in content["figures"]:
        assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")
    for entry in content["results"].values():
        assert {"value", "unit", "protocol", "published"} <= set(entry)
    assert {"config", "hardware", "versions", "commit", "options"} <= set(content)
    return content


def value(content, name):
    return content["results"][name]["value"]


def test_few_shot(workdir, tmp_path):
    content = run("few_shot", workdir, tmp_path, "--way", "2", "4", "--shot", "1", "3", "--trials=2")
    kinds = ("few_shot", "few_shot_original", "few_shot_midpoint")
    settings = [f"{way}way_{shot}shot" for way in (2, 4) for shot in (1, 3)]
    assert set(content["results"]) == {f"{kind}/{setting}" for kind in kinds for setting in settings}
    assert value(content, "few_shot/4way_3shot") > 80  # chance is 25
    assert content["step"] == 7
    assert content["figures"] == ["few_shot.png"]


def test_nll(workdir, tmp_path):
    content = run("nll", workdir, tmp_path, "--noise_draws=2", "--set_size=4", "--splits", "test", "train")
    for split in ("test", "train"):
        for name in ("nll", "nll_prior", "nll_bound", "nll_prior_bound", "bits_per_dim", "nll_first", "nll_last"):
            assert np.isfinite(value(content, f"{split}_{name}"))
        assert value(content, f"{split}_nll_bound") <= value(content, f"{split}_nll")
        assert value(content, f"{split}_nll_last") < value(content, f"{split}_nll_first")
        assert len(content["series"][split]["nll"]) == 4
    np.testing.assert_allclose(value(content, "test_nll_first"), value(content, "test_nll_prior"), rtol=0.05)


@pytest.mark.parametrize("options", [(), ("--same_image", "--last_columns=2", "--classes=0")])
def test_samples(workdir, tmp_path, options):
    content = run("samples", workdir, tmp_path, "--set_size=5", "--rows=2", *options)
    assert content["figures"] == ["samples_independent.png", "samples_coherent.png"]
    assert 0 <= value(content, "consistency/coherent") <= 100
    assert content["series"]["class_ids"] == list(range(12, 18))


def test_samples_of_all_classes_show_a_few(workdir, tmp_path, monkeypatch):
    drawn = []
    tile = samples.tile
    monkeypatch.setattr(
        samples, "tile", lambda pictures, columns: drawn.append(len(pictures)) or tile(pictures, columns)
    )
    monkeypatch.setattr(samples, "MAX_SHOWN", 4)
    content = run("samples", workdir, tmp_path, "--set_size=5", "--rows=1", "--classes=0")
    assert drawn == [4, 4]  # of six; the entries and the JSON know all
    assert content["series"]["class_ids"] == list(range(12, 18))
    assert content["results"]["consistency/coherent"]["protocol"].endswith("of 6 classes")


def test_sample_quality(workdir, tmp_path, capsys):
    content = run("sample_quality", workdir, tmp_path, "--images=40", "--given=1", "--metrics=fid,kid")
    kinds = {name.split("[")[0].removeprefix("tiny/test_") for name in content["results"]}
    assert kinds == {"floor/fid", "prior/fid", "prior/kid", "given_1/fid", "given_1/kid", "given_1/class_fid"}
    assert content["series"]["table"][0].split() == ["fid", "kid", "class_fid"]
    assert "40 test images against 40 samples given nothing; floor" in str(content["results"])
    assert "tiny/test_given_1" in capsys.readouterr().out


def test_prior_samples(workdir, tmp_path):
    content = run("prior_samples", workdir, tmp_path, "--rows=6", "--columns=4", "--grids=2")
    assert value(content, "gain/coherent") > value(content, "gain/independent")


def test_anomaly(workdir, tmp_path):
    content = run("anomaly", workdir, tmp_path, "--sequences=30", "--reject", "--shown=3")
    for method in ("streaming", "leave_one_out", "rejecting"):
        assert value(content, f"auroc/{method}") > 80
        assert len(content["series"][f"{method}_scores"]) == 3
    assert value(content, "rejected/anomalous") > 4 * value(content, "rejected/normal")
    assert "30 labelled sequences of 16 test images" in content["results"]["f1/streaming"]["protocol"]
    difference = value(content, "auroc/leave_one_out") - value(content, "auroc/streaming")
    np.testing.assert_allclose(value(content, "auroc/leave_one_out_minus_streaming"), difference, atol=1e-9)
    options = ("--protocol=original", "--min_correlation=0.5", "--set_size=13", "--sequences=30")
    content = run("anomaly", workdir, tmp_path, *options)
    assert "8 dimensions of correlation > 0.5" in content["results"]["auroc/streaming"]["protocol"]


def test_correlations(workdir, tmp_path):
    content = run("correlations", workdir, tmp_path)
    learned = 1 / (1 + np.exp(-np.linspace(-3, 3, 16)))
    for threshold in (0.01, 0.1, 0.2, 0.3, 0.5, 0.7):
        assert value(content, f"dimensions/correlation>{threshold:g}") == (learned > threshold).sum()
    np.testing.assert_allclose(content["series"]["correlation"], learned, rtol=1e-5)
    np.testing.assert_allclose(value(content, "correlation/median"), np.median(learned), rtol=1e-5)
    assert value(content, "degrees_of_freedom/min") > 2


def test_latent_distributions(workdir, tmp_path):
    content = run("latent_distributions", workdir, tmp_path, "--images=50", "--dimensions", "0", "3", "15")
    assert content["series"]["shown_dimensions"] == [0, 3, 15]
    assert len(content["series"]["distance"]) == 16
    assert 0 < value(content, "distance/median") <= value(content, "distance/max") <= 1


def test_evolution(workdir, tmp_path):
    options = ("--sequences=12", "--context=4", "--way=3", "--shots=2", "--episodes=10", "--black_image")
    content = run("evolution", workdir, tmp_path, *options)
    series = content["series"]
    assert set(series) == {"same_class", "other_class", "black_image", "3_way"}
    assert series["same_class"]["score"][0] == 0
    assert value(content, "score/same_class/after_4") > value(content, "score/other_class/after_4")
    np.testing.assert_allclose(series["3_way"]["true_class_probability"][0], 1 / 3, rtol=1e-5)
    assert value(content, "true_class_probability/3way_2shot") > 60
    content = run("evolution", workdir, tmp_path, *options, "--same_image")
    assert set(content["series"]) == {"same_image", "black_image", "3_way"}
    assert content["series"]["same_image"]["score"][4] > series["same_class"]["score"][4]


def test_learning_curves(workdir, tmp_path):
    content = run("learning_curves", workdir, tmp_path, "--window=3")
    np.testing.assert_allclose(value(content, "train_loss"), np.linspace(9, 5, 30)[-3:].mean())
    assert (value(content, "validation_nll/best"), value(content, "validation_nll/last")) == (7, 8.5)
    assert value(content, "validation_few_shot/5way_1shot/best") == 50
    assert content["results"]["validation_nll/best"]["protocol"] == "best validation, at step 3"


def outlier_run(folder, process, variant, jump, slow, num_skipped=0):
    """Loss of 6 with a jump every 20 steps that fades over `slow` steps."""
    losses, wave = np.full(90, 6.0), 0.1 * np.sin(np.arange(90))
    for at in range(19, 90, 20):
        losses[at] += jump
        losses[at + 1 : at + 1 + slow] += jump / 4
    config = base_config("bruno")
    with config.unlocked():
        config.data.outlier_every, config.model.bruno.process, config.variant = 20, process, variant
    folder.mkdir()
    (folder / "config.json").write_text(to_json(config))
    losses[:10] += 3
    write_metrics(folder, losses + wave, num_skipped=num_skipped)
    return folder


def test_robustness(tmp_path):
    gaussian = outlier_run(tmp_path / "gp", "gaussian", "wn", 40.0, 7, num_skipped=1)
    student_t = outlier_run(tmp_path / "tp", "student_t", "wn_student_t", 8.0, 2)
    content = run("robustness", gaussian, tmp_path / "out", f"--model={student_t}")
    for process, jump, after, recovery, diverged in (("gaussian", 40, 10, 8, 1), ("student_t", 8, 0, 3, 0)):
        np.testing.assert_allclose(value(content, f"wn/{process}/jump"), jump, atol=0.3)
        np.testing.assert_allclose(value(content, f"wn/{process}/aftermath"), after, atol=0.3)
        assert value(content, f"wn/{process}/recovery") == recovery
        assert value(content, f"wn/{process}/diverged") == diverged
    assert len(content["sources"]) == 2


def test_a_run_that_never_recovers_or_ends_above_its_beginning_is_seen():
    nll = np.r_[np.full(19, 5.0), np.full(41, 9.0)]
    found = robustness.reactions(nll, 20)
    np.testing.assert_array_equal(found.jump, [4, 0])
    np.testing.assert_array_equal(found.aftermath, [4, 0])
    assert found.recovery[0] == 20
    for low, recovery in (([23, 40, 41, 50], 20), ([23, 30, 31, 32], 11)):  # steps back at 5 after the outlier at 19
        nll = np.r_[np.full(19, 5.0), np.full(41, 9.0)]
        nll[low] = 5.0
        assert robustness.reactions(nll, 20).recovery[0] == recovery
    one = robustness.Run("wn", "gaussian", np.r_[np.full(60, 5.0), np.full(60, 9.0)], 20, 0)
    assert robustness.diverged(one)
    assert not robustness.diverged(one._replace(nll=one.nll[::-1]))
    assert robustness.diverged(one._replace(nll=np.r_[one.nll[::-1], np.nan]))


def test_comparison(workdir, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(workdir, other)
    options = (f"--model={other}", "--trials=1", "--samples=4")
    content = run("comparison", workdir, tmp_path / "out", *options)
    for name in ("tiny", "other"):
        assert value(content, f"{name}/test_nll") == value(content, "tiny/test_nll")
        accuracy = content["results"][f"{name}/few_shot/5way_1shot"]
        assert 0 <= accuracy["value"] <= 100
        assert f"{name}/few_shot/20way_1shot" not in content["results"]  # there are 6 classes
        assert value(content, f"{name}/samples_per_second") > 0
        assert content["models"][name]["scores"] == "gray levels, 4x4"
    separate = run("nll", workdir, tmp_path / "nll", "--set_size=5", "--splits", "test")
    np.testing.assert_allclose(value(content, "tiny/test_nll"), value(separate, "test_nll"), rtol=1e-6)

    with pytest.raises(UserError, match=r"--model: expected different names, got tiny, tiny. Rename"):
        command.run(["comparison", f"--model={workdir}", f"--model={workdir}", f"--out={tmp_path}"])
    elsewhere = base_config("bruno")
    elsewhere.data.dataset = "glyphs"
    subjects = [argparse.Namespace(config=config) for config in (base_config("bruno"), elsewhere)]
    several.check_same_data(["a", "b"], subjects[:1] * 2)
    subjects[0].config.data.dataset = "omniglot"
    with pytest.raises(
        UserError, match=r"--model: b has test classes of \('glyphs', .*, a of \('omniglot'.* Train both"
    ):
        several.check_same_data(["a", "b"], subjects)


def test_the_list_names_every_experiment(capsys):
    assert command.run([]) is None
    text = capsys.readouterr().out
    for name, line in command.EXPERIMENTS.items():
        assert f"  {name}" in text
        assert line in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["few_shot", "--way", "9"], r"none of the settings is possible with test classes"),
        (["samples", "--set_size=30"], r"--set_size: no test class has 30 images. Use at most 16."),
        (["anomaly", "--set_size=17"], r"set_size: 0 classes have 17 images"),
        (["anomaly", "--min_correlation=0.99"], r"min_correlation: no dimension is above 0.99"),
        (["latent_distributions", "--dimensions", "16"], r"--dimensions: expected numbers from 0 to 15, got \[16\]"),
        (["evolution", "--context=16"], r"--context: expected 1 to 15 with test classes, got 16."),
        (["correlations", "--dataset=coloured"], r"--dataset: coloured has images of 4x4x3, the model wants 4x4x1."),
        (["correlations", "--dataset=blob"], r"data set: 'blob' is not known. Did you mean 'blobs'\?"),
        (["robustness"], r"was trained without outliers. Use configs/bruno_fashion_outliers.py."),
    ],
)
def test_what_the_model_or_data_cannot_give(workdir, tmp_path, argv, message):
    with pytest.raises(UserError, match=message):
        command.run([*argv, f"--model={workdir}", f"--out={tmp_path}"])


def test_data_sets_of_ones_own(workdir, tmp_path):
    """Modules that a run names in `imports` are imported before --dataset is looked up."""
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "from exflow.data.registry import LabelledImages, register\n\n\n"
        '@register("own_blobs", cache=False)\n'
        f"def own_blobs(image_size={SIZE}):\n"
        "    labels = np.arange(18, dtype=np.int32) // 2 % 9\n"
        f"    images = np.full((18, {SIZE}, {SIZE}, 1), 7, np.uint8)\n"
        "    return LabelledImages(images, labels, (labels // 3).astype(np.uint8))\n"
    )
    own = tmp_path / "run"
    shutil.copytree(workdir, own)
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(config | {"imports": [str(tmp_path / "own.py")]}))
    found = command.run(["nll", f"--model={own}", f"--out={tmp_path}", "--dataset=own_blobs", "--set_size=2"])
    assert json.loads(found.read_text())["config"]["data"]["dataset"] == "own_blobs"


def test_default_folders(workdir, tmp_path):
    def flags(model, out=None):
        return argparse.Namespace(model=[str(model)], out=out)

    assert report.folder(flags(workdir)) == workdir / "experiments"
    assert report.folder(flags("bundled_name")) == Path("runs/bundled/bundled_name/experiments")
    assert report.folder(flags(workdir, tmp_path)) == tmp_path
