"""Two families of less than 60 lines each go through the ordinary command line: codes alone, and single images."""

import json
import traceback
from pathlib import Path

import jax
import numpy as np
import pytest

import exflow
from exflow.errors import UserError
from exflow.main import main
from exflow.models.registry import FAMILIES

FOLDER = Path(__file__).parent
PACKAGE = Path(exflow.__file__).parent


def run(name, workdir, *flags):
    main([f"--config={FOLDER}/config_{name}.py", f"--workdir={workdir}", *flags])
    return json.loads((workdir / "results.json").read_text())["results"]


CHAINS = set()  # calls of ours that led to the loss of the codes


def watched(build):
    """The same family, which remembers who calls its loss."""

    def watched_build(config, image_shape):
        model = build(config, image_shape)

        def loss(*arguments):
            frames = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(PACKAGE)]
            CHAINS.add(" ".join(f"{Path(frame.filename).stem}.{frame.name}" for frame in frames))
            return model.loss(*arguments)

        return model._replace(loss=loss)

    return watched_build


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory, toy_families):
    """Working directories in which both have been trained and evaluated."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("toy_codes", "toy_single")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "toy_codes", watched(FAMILIES["toy_codes"]))
        return {name: (folder, run(name, folder)) for name, folder in folders.items()}


@pytest.mark.parametrize("name", ["toy_codes", "toy_single"])
def test_families_are_small(name):
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) < 60


def test_four_calls_lead_from_the_command_line_to_the_loss(workdirs):
    training = {chain for chain in CHAINS if "loop.fit step.step" in chain}
    assert training == {"main.main modes.train_and_evaluate loop.fit step.step phases.loss"}  # names what a phase moves


def test_codes_train_evaluate_and_sample(workdirs):
    workdir, results = workdirs["toy_codes"]
    assert list(results) == ["test_reconstruction_mse"]  # no density, so no other number
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    validation = [line["reconstruction_mse"] for line in lines if line["split"] == "validation"]
    assert validation[-1] < validation[0]
    assert (workdir / "samples" / "independent.png").stat().st_size > 0


def test_codes_answer_what_they_can(workdirs):
    model = exflow.load(workdirs["toy_codes"][0])
    x = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    assert model.encode(x).shape == (3, 16)
    assert model.reconstruct(x).shape == x.shape
    assert model.sample(None, jax.random.key(0), 5).shape == (5, 8, 8, 1)
    with pytest.raises(UserError, match="toy codes: has no densities of sets"):
        model.init_state()


def test_sampling_needs_no_training_anew(workdirs, capsys):
    workdir, _ = workdirs["toy_codes"]
    before = (workdir / "samples" / "independent.png").read_bytes()
    run("toy_codes", workdir, "--mode=sample")
    assert (workdir / "samples" / "independent.png").read_bytes() == before


def test_evaluators_that_a_family_cannot_serve_are_refused(workdirs):
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                f"--config={FOLDER}/config_toy_codes.py",
                f"--workdir={workdirs['toy_codes'][0]}",
                "--mode=evaluate",
                "--config.evaluation.evaluators=likelihood",
            ]
        )
    assert stopped.value.code == 2


def test_single_images_have_a_likelihood_and_samples(workdirs):
    workdir, results = workdirs["toy_single"]
    np.testing.assert_allclose(
        results["test_nll"]["value"], results["test_nll_prior"]["value"], rtol=1e-6
    )  # images are independent
    assert (workdir / "samples" / "prior.png").stat().st_size > 0


def test_single_images_answer_as_sets(workdirs):
    model = exflow.load(workdirs["toy_single"][0])
    x = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    state = model.update(model.init_state(), x[:2])
    np.testing.assert_allclose(model.log_prob(state, x[2]), model.log_prob(model.init_state(), x[2]), rtol=1e-4)
    np.testing.assert_allclose(model.set_log_prob(x), sum(float(model.set_log_prob(one[None])) for one in x), rtol=1e-5)
    assert model.set_log_prob(x, num_importance_samples=50) > model.set_log_prob(x) - 5.0
    assert model.sample(model.init_state(), jax.random.key(0), 5).shape == (5, 8, 8, 1)
