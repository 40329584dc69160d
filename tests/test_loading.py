"""Opening trained models: working directories, bundled files, and what can be wrong with them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import exflow
from exflow import loading
from exflow.config import to_json
from exflow.errors import UserError
from exflow.model import sets_of
from exflow.models.registry import build
from exflow.training.checkpoint import Checkpoints
from exflow.training.state import TrainState
from tests.models.registry import small_config

SIZE = {"data__dataset": "omniglot", "data__image_size": 16, "data__downscale": 2, "model__bruno__scales": 0}
SIZE |= {"model__bruno__dense_couplings": 2}


def make_workdir(folder, image_shape=(8, 8, 1), save_shape=True, **overrides):
    """A run with checkpoints at steps 1 (best) and 2; parameters differ, and so do the averaged ones."""
    config = small_config(**{**SIZE, **overrides})
    model = build(config, image_shape)
    rng = np.random.default_rng(0)
    like = loading.params_like(model, config)
    first = jax.tree.map(lambda leaf: np.asarray(0.1 * rng.normal(size=leaf.shape), leaf.dtype), like)
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(to_json(config))
    checkpoints = Checkpoints(folder / "checkpoints", best_metric="nll", best_mode="min")
    trees, meta = {}, {"wall_seconds": 1.0} | ({"image_shape": image_shape} if save_shape else {})
    for step, nll in ((1, 3.0), (2, 4.0)):
        params = jax.tree.map(lambda leaf, step=step: leaf * (1 + 0.1 * step), first)
        ema = jax.tree.map(lambda leaf: leaf + 0.01, params) if config.optimizer.ema_decay else ()
        state = TrainState(np.asarray(step), params, ema, (), np.asarray(0), np.asarray(0))
        checkpoints.save(state, meta, {"nll": nll})
        checkpoints.wait()
        trees[step] = state
    checkpoints.close()
    return folder, trees, model


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return make_workdir(tmp_path_factory.mktemp("runs") / "bruno", optimizer__ema_decay=0.9)


def assert_equal(tree, expected):
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, tree, expected)


def test_best_and_latest_averaged_parameters(workdir):
    folder, states, _ = workdir
    best = exflow.load(str(folder))
    assert best.info == {"source": str(folder), "step": 1, "averaged": True}
    assert best.image_shape == (8, 8, 1)
    assert_equal(best.params, states[1].ema_params)
    assert_equal(exflow.load(folder, checkpoint="latest").params, states[2].ema_params)


def test_calls_equal_those_of_the_set_model(workdir):
    folder, states, set_model = workdir
    model, rng = exflow.load(folder), np.random.default_rng(1)
    x = rng.integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    params = states[1].ema_params
    elements = jax.jit(set_model.encode)(params, None, jnp.asarray(x))
    direct = jax.jit(sets_of(set_model).conditional)(params, elements)
    np.testing.assert_allclose(model.conditional_log_probs(x), direct, rtol=1e-5)
    state = model.update(model.init_state(), x[:3])
    np.testing.assert_allclose(model.log_prob(state, x[3]), direct[3], rtol=1e-5)
    assert model.sample(state, jax.random.key(0), 3).shape == (3, 8, 8, 1)
    raw = rng.integers(0, 256, (2, 105, 105, 3), dtype=np.uint8)
    assert model.preprocess(raw, invert=True).shape == (2, 8, 8, 1)
    assert "bruno" in repr(model)


def test_without_averaging_and_with_colour(tmp_path):
    folder, states, _ = make_workdir(tmp_path / "run", (8, 8, 3), model__bruno__process="student_t")
    model = exflow.load(folder)
    assert model.image_shape == (8, 8, 3)
    assert_equal(model.params, states[1].params)
    assert model.info["averaged"] is False


@pytest.mark.parametrize("image_shape", [(4, 6, 1), (4, 4, 2), (2, 4, 4)])
def test_images_of_any_shape(tmp_path, image_shape):
    """Nothing but the checkpoint says what the model sees; a bundled one says it beside its parameters."""
    folder, states, _ = make_workdir(tmp_path / "run", image_shape)
    model = exflow.load(folder)
    assert model.image_shape == image_shape
    assert_equal(model.params, states[1].params)
    loading.export_bundled(loading.find(folder), "shaped", tmp_path)
    assert loading.from_bundle(tmp_path / "shaped").model.image_shape == image_shape
    with pytest.raises(ValueError, match="preprocess: makes square gray or colour images, and the model takes"):
        model.preprocess(np.zeros((8, 8), np.uint8))


def test_checkpoints_without_an_image_shape(tmp_path):
    folder, _, _ = make_workdir(tmp_path / "run", save_shape=False)
    with pytest.raises(UserError, match="no checkpoint says which image_shape its model takes .* Train on with"):
        exflow.load(folder)


def test_damaged_checkpoint_is_left_alone_and_the_other_used(workdir, tmp_path):
    folder, states, _ = make_workdir(tmp_path / "run")
    for path in (folder / "checkpoints" / "1" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = sorted(str(path) for path in folder.rglob("*"))
    with pytest.warns(UserWarning, match="checkpoint 1 .* is damaged"):
        model = exflow.load(folder)
    assert_equal(model.params, states[2].params)
    assert sorted(str(path) for path in folder.rglob("*")) == before


def test_bundled_models(workdir, tmp_path, monkeypatch):
    folder, states, _ = workdir
    trained = loading.find(folder)
    path = loading.export_bundled(trained, "small.v1", tmp_path)
    with np.load(path, allow_pickle=False) as stored:
        types = {stored[name].ndim >= 2: stored[name].dtype for name in stored.files}
    assert types == {True: np.float16, False: np.float32}
    monkeypatch.setattr(loading, "BUNDLED", tmp_path)
    model = exflow.load("small.v1")
    assert loading.bundled_names() == ["small.v1"]
    assert model.info == {"step": 1, "averaged": True, "source": "small.v1"}
    assert model.config.to_dict() == trained.config.to_dict()
    for leaf, expected in zip(jax.tree.leaves(model.params), jax.tree.leaves(states[1].ema_params), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-3, atol=1e-6)
    with pytest.raises(UserError, match=r"Did you mean 'small\.v1'\? Bundled: small\.v1"):
        exflow.load("small.v2")
    path.write_bytes(b"garbage")
    with pytest.raises(UserError, match="cannot be read"):
        exflow.load("small.v1")


def test_errors(tmp_path, workdir):
    with pytest.raises(UserError, match="no working directory 'nowhere' and no bundled model"):
        exflow.load("nowhere")
    with pytest.raises(UserError, match="no config.json in"):
        exflow.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(loading.find(workdir[0]).config.to_dict()))
    with pytest.raises(UserError, match="no good checkpoint in .* Train first"):
        exflow.load(tmp_path)
    with pytest.raises(UserError, match="expected one of .*, got 'newest'"):
        exflow.load(workdir[0], checkpoint="newest")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        exflow.load(tmp_path)


def test_checkpoint_of_another_configuration(tmp_path):
    folder, _, _ = make_workdir(tmp_path / "run")
    (folder / "config.json").write_text(to_json(small_config(**SIZE, model__bruno__dense_units=16)))
    with pytest.raises(UserError, match="does not fit the configuration"):
        exflow.load(folder)
