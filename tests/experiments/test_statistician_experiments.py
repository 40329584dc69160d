"""The experiments on sets of vectors from the command line, on a tiny Neural Statistician: JSON, figures, mistakes."""

import functools

import jax
import numpy as np
import pytest

from exflow import loading
from exflow.config import to_json
from exflow.data.building.vectors import label_vectors
from exflow.data.registry import REGISTRY, known_data_sets, register
from exflow.errors import UserError
from exflow.models.registry import build
from exflow.training.checkpoint import Checkpoints
from exflow.training.state import TrainState
from experiments import __main__ as command
from tests.experiments.test_experiments import run, value
from tests.models.registry import TINY_VECTORS, small_config

pytestmark = pytest.mark.slow  # many compilations

NUMBERS = "num_train=60, num_validation=5, num_test=40, set_size=30, kind=hard"


@pytest.fixture(scope="module", autouse=True)
def points():
    """3 sets of 8 points in every split."""
    sets = np.random.default_rng(0).normal(size=(9, 8, 2)).astype(np.float32)
    before = dict(known_data_sets())
    register("points", cache=False)(
        lambda: label_vectors([(sets[at : at + 3], sets[at : at + 3, 0]) for at in (0, 3, 6)])
    )
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    """Working directories by data set and levels of the set's latents, made when they are first asked for."""

    @functools.cache
    def make(data_set, context_levels="top"):
        folder, dim = tmp_path_factory.mktemp("run"), 2 if data_set == "points" else 1
        options = {"data__options": NUMBERS if dim == 1 else "", "evaluation__nll_set_size": 8, "data__rotate": False}
        levels = {"model__set_vae__set_latent_levels": context_levels}
        config = small_config(data__dataset=data_set, **options, **TINY_VECTORS, **levels)
        (folder / "config.json").write_text(to_json(config))
        like, rng = loading.params_like(build(config, (1, 1, dim)), config), np.random.default_rng(1)
        params = jax.tree.map(lambda leaf: np.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype), like)
        params["statistics"] = jax.tree.map(lambda leaf: 1 + np.abs(leaf), params["statistics"])
        checkpoints = Checkpoints(folder / "checkpoints", best_metric="nll", best_mode="min")
        state = TrainState(np.asarray(7), params, (), (), np.asarray(0), np.asarray(0))
        checkpoints.save(state, {"wall_seconds": 1.0, "image_shape": (1, 1, dim)}, {"nll": 3.0})
        checkpoints.close()
        return folder

    return make


def test_context_probes(workdirs, tmp_path):
    content = run("context_probes", workdirs("distributions_1d"), tmp_path)
    families = ["mixture", "laplace", "exponential", "reversed_exponential"]
    assert content["series"]["families"] == families
    assert np.shape(content["series"]["posterior_means"]) == (40, 3)
    labels = np.array(content["series"]["labels"])
    per_family = [value(content, f"accuracy/{name}") for name in families]
    number = [(labels[:, 0] == at).sum() for at in range(4)]
    np.testing.assert_allclose(np.average(per_family, weights=number), value(content, "accuracy/family"))
    assert value(content, "r2/mean") <= 1
    assert content["results"]["r2/log_standard_deviation"]["unit"] == "R^2"
    assert "40 test sets, probe fitted on 60 training sets" in content["results"]["r2/mean"]["protocol"]
    assert content["figures"] == ["context_probes.png"]


@pytest.mark.parametrize("context_levels", ["top", "all"])
def test_summaries(workdirs, tmp_path, context_levels):
    content = run("summaries", workdirs("points", context_levels), tmp_path, "--sets=2", "--kept=3")
    series = content["series"]
    for kept, removed, divergence in zip(series["kept"], series["removed"], series["divergence"], strict=True):
        assert sorted(kept + removed) == list(range(8))
        assert len(kept) == 3
        assert len(divergence) == 5
    assert value(content, "divergence/best_random") <= value(content, "divergence/random")
    assert value(content, "divergence/greedy") < value(content, "divergence/random")
    np.testing.assert_allclose(
        value(content, "divergence/greedy"), np.mean([d[-1] for d in series["divergence"]]), rtol=1e-4
    )
    assert "3 of 8 points, 2 test sets; greedy" in content["results"]["divergence/greedy"]["protocol"]


@pytest.mark.parametrize(
    ("data_set", "argv", "message"),
    [
        ("points", ["context_probes"], r"--dataset: points does not say what distribution a set is from. Use distrib"),
        ("distributions_1d", ["summaries"], r"--model: expected one of points in the plane, got elements of 1x1x1."),
        ("points", ["summaries", "--kept=8"], r"--kept: expected less than the 8 points of a set, got 8."),
        ("points", ["summaries", "--set_size=9"], r"--set_size: no test class has 9 images. Use at most 8."),
    ],
)
def test_what_the_model_or_data_cannot_give(workdirs, tmp_path, data_set, argv, message):
    with pytest.raises(UserError, match=message):
        command.run([*argv, f"--model={workdirs(data_set)}", f"--out={tmp_path}"])
