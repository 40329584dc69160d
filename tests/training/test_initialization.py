"""What happens before the first step: initialising, fitting in closed form, starting from given parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.data.registry import group_by_class
from exflow.model import ProcessFunctions, Refit
from exflow.training.initialization import batches_at, fit_in_closed_form, refit_of
from exflow.training.sharding import make_mesh
from exflow.training.step import named_keys
from tests.training.toy import DIM, NUM_SETS, SET_SIZE, device_pipeline, fit, host_pipeline, toy_config, toy_model


def shrink(key, batch, step):
    factor = jax.random.randint(key, (), 2, 5)
    return batch._replace(x_set=(batch.x_set // factor).astype(jnp.uint8))


def refitting_model(at_start=True, every=0, num_batches=2):
    """The toy model with its process mean as closed form: the mean latent, which its loss does not find as fast."""

    def encode(params, key, x, context=None):
        del key, context
        flat = x.astype(jnp.float32).reshape(*x.shape[:-3], DIM) / 256
        return flat @ params["flow"]["weight"] + params["flow"]["bias"].reshape((1,) * (x.ndim - 3) + (-1,))

    def refitted(params, element_set, mask):
        present = mask[..., None]
        mean = jnp.where(present, element_set, 0.0).sum(axis=(0, 1)) / present.sum(axis=(0, 1))
        return {**params, "process": {**params["process"], "mean": mean}}

    process = ProcessFunctions(None, None, Refit(refitted, at_start, every, num_batches), None, None)
    return toy_model()._replace(encode=encode, process=process)


def run(workdir, model=None, pipeline=None, **options):
    overrides = {key: options.pop(key) for key in list(options) if "__" in key}
    mesh = make_mesh(jax.devices()[:1])
    return fit(
        toy_config(**overrides), workdir, model or toy_model(), pipeline or device_pipeline(), mesh=mesh, **options
    )


def test_batches_are_those_of_training_transformed():
    pipeline, mesh, key = device_pipeline(), make_mesh(jax.devices()[:1]), jax.random.key(3)
    batches = batches_at(pipeline, pipeline.resident, mesh, 4, 2, key, shrink)
    assert len(batches) == 2
    for step, batch in zip((4, 5), batches, strict=True):
        plain = pipeline.materialize(pipeline.resident, np.int32(step))
        np.testing.assert_array_equal(batch.x_set, shrink(named_keys(key, step).transform, plain, step).x_set)


def test_parameters_are_initialised_on_the_first_batch_and_fitted_on_several(tmp_path):
    shapes, model = [], refitting_model(num_batches=3)

    def init(key, batch):
        shapes.append(batch.x_set.shape)
        return toy_model().init(key, batch)

    options = {"training__num_steps": 1, "optimizer__learning_rate": 0.0}
    result = run(tmp_path, model._replace(init=init), **options)
    assert set(shapes) == {(NUM_SETS, SET_SIZE, 4, 4, 1)}
    params = jax.device_get(result.state.params)
    pipeline = device_pipeline()
    batches = [pipeline.materialize(pipeline.resident, np.int32(step)) for step in range(3)]
    latents = np.stack([model.encode(params, None, batch.x_set) for batch in batches])
    np.testing.assert_allclose(params["process"]["mean"], latents.mean(axis=(0, 1, 2)), atol=1e-5)


def test_missing_elements_of_ragged_sets_do_not_count():
    model, pipeline, key = refitting_model(), host_pipeline(), jax.random.key(0)
    batches = batches_at(pipeline, (), make_mesh(jax.devices()[:1]), 0, 2, key)
    assert not all(batch.mask.all() for batch in batches)
    params = model.init(key, batches[0])
    fitted = fit_in_closed_form(model, refit_of(model), params, key, batches)
    present = np.concatenate([model.encode(params, None, batch.x_set)[batch.mask] for batch in batches])
    np.testing.assert_allclose(fitted["process"]["mean"], present.mean(axis=0), atol=1e-5)


def test_a_refreshed_run_resumes_bit_for_bit(tmp_path):
    model, options = refitting_model(every=4), {"training__checkpoint_every": 3}
    whole = run(tmp_path / "whole", model, training__num_steps=11, **options)
    run(tmp_path / "parts", model, training__num_steps=6, **options)
    parts = run(tmp_path / "parts", model, training__num_steps=11, **options)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(parts.state.params), jax.device_get(whole.state.params))
    unrefreshed = run(tmp_path / "plain", refitting_model(), training__num_steps=11)
    difference = whole.state.params["process"]["mean"] - unrefreshed.state.params["process"]["mean"]
    assert np.abs(difference).max() > 1e-3


@pytest.mark.parametrize("at_start", [False, True])
def test_a_warm_start_replaces_what_init_and_refit_found(tmp_path, at_start):
    given = {}

    def warm_start(initial):
        given.update(jax.tree.map(lambda leaf: np.full_like(leaf, 0.25), initial))
        return given

    options = {"training__num_steps": 1, "optimizer__learning_rate": 0.0}
    result = run(tmp_path, refitting_model(at_start), warm_start=warm_start, **options)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(result.state.params), given)


@pytest.mark.slow
def test_statistics_of_the_training_images_are_taken_once_before_the_first_step(tmp_path):
    """In chunks that hold every image, reduced as in training; a run that goes on or starts warm keeps its own."""
    images = np.random.default_rng(0).integers(0, 256, (2100, 8, 8, 1), dtype=np.uint8)
    sets = {"train": group_by_class(images, np.zeros(len(images), np.int32))}
    sizes = []

    def init(key, batch):
        return {**toy_model().init(key, batch), "statistics": {"mean": jnp.zeros((4, 4, 1))}}

    def fit_images(params, some):
        chunks = list(some)
        sizes.append([len(chunk) for chunk in chunks])
        return {**params, "statistics": {"mean": np.concatenate(chunks).mean(axis=0, dtype=np.float32)}}

    def group_of(name):
        return name if name in ("process", "statistics") else "main"

    model = toy_model()._replace(init=init, fit_images=fit_images, group_of=group_of)
    options = {"model": model, "image_sets": sets, "data__downscale": 2}
    first = run(tmp_path / "run", training__num_steps=2, **options)
    assert sizes == [[1000, 1000, 100]]
    means = np.floor(images.reshape(2100, 4, 2, 4, 2, 1).mean(axis=(2, 4)) + 0.5).mean(axis=0)
    np.testing.assert_allclose(first.state.params["statistics"]["mean"], means, rtol=1e-6)
    again = run(tmp_path / "run", training__num_steps=4, **options)
    np.testing.assert_allclose(again.state.params["statistics"]["mean"], means, rtol=1e-6)
    warm = run(tmp_path / "warm", training__num_steps=2, warm_start=lambda params: params, **options)
    np.testing.assert_array_equal(warm.state.params["statistics"]["mean"], 0.0)
    assert len(sizes) == 1
