"""Every experiment on set VAEs from the command line on tiny ones: JSON, figures, options, mistakes."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

import exflow
from exflow import loading
from exflow.config import to_json
from exflow.core.latents import terms
from exflow.core.latents.elements import SeenElements
from exflow.data.registry import REGISTRY, LabelledImages, known_data_sets, register
from exflow.errors import UserError
from exflow.evaluation.scoring import latents as latent_chunks
from exflow.evaluation.scoring.episode_draws import draw_episodes
from exflow.models import latent_bounds as bounds_of_models
from exflow.models.registry import build
from exflow.training.checkpoint import Checkpoints
from exflow.training.state import TrainState
from experiments import __main__ as command
from experiments import comparison
from experiments.latents import LATENTS, bounds_of, draw_sets, regrouped, terms_of, values_of
from experiments.subject import open_subject
from tests.experiments.test_experiments import run, value
from tests.models.registry import ALL_LEVELS, ATTENTION, TINY_IMAGES, TINY_STREAM, TINY_VECTORS, small_config

pytestmark = pytest.mark.slow  # many compilations

SIZE, CLASSES, COUNT = 28, 4, 10
MODELS = {
    "vae": {**TINY_IMAGES, "model__set_vae__set_latent_levels": "none"},
    "ns": TINY_IMAGES,
    "hfsgm_lag": {**TINY_IMAGES, **ALL_LEVELS, **ATTENTION},
    "scha_vae": TINY_STREAM,
    "ns_max": {**TINY_IMAGES, "model__set_vae__aggregation": "max"},
    "ns_vectors": TINY_VECTORS,
    "bruno": {"data__image_size": SIZE, "model__bruno__scales": 0},
}


@pytest.fixture(scope="module", autouse=True)
def data_sets():
    """4 classes of noisy copies of a picture, or of points around a centre, in every split."""
    labels = np.repeat(np.arange(3 * CLASSES), COUNT).astype(np.int32)
    split = (labels // CLASSES).astype(np.uint8)

    def pictures(image_size: int = SIZE, contrast: int = 90) -> LabelledImages:
        rng = np.random.default_rng(0)
        base = 128 + rng.integers(-contrast, contrast, (3 * CLASSES, image_size, image_size, 1))
        images = base[labels] + rng.integers(-20, 21, (len(labels), image_size, image_size, 1))
        return LabelledImages(images.astype(np.uint8), labels, split)

    def points() -> LabelledImages:
        rng = np.random.default_rng(0)
        vectors = rng.normal(size=(3 * CLASSES, 1, 1, 2))[labels] + 0.1 * rng.normal(size=(len(labels), 1, 1, 2))
        return LabelledImages(vectors.astype(np.float32), labels, split)

    before = dict(known_data_sets())
    register("pictures", cache=False)(pictures)
    register("points", cache=False)(points)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """The same model object for all tests, so that its functions are compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exflow, "load", functools.cache(exflow.load))
        yield


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    """Working directories by name of the model, made when they are first asked for."""

    @functools.cache
    def make(name):
        folder = tmp_path_factory.mktemp("runs") / name
        data = {"data__dataset": "points" if name == "ns_vectors" else "pictures", "evaluation__nll_set_size": 3}
        config = small_config(data__rotate=False, **data, **MODELS[name])
        folder.mkdir()
        (folder / "config.json").write_text(to_json(config))
        shape = (1, 1, 2) if name == "ns_vectors" else (SIZE, SIZE, 1)
        like, rng = loading.params_like(build(config, shape), config), np.random.default_rng(1)
        params = jax.tree.map(lambda leaf: np.asarray(0.2 * rng.normal(size=leaf.shape), leaf.dtype), like)
        params["statistics"] = jax.tree.map(lambda leaf: 1 + np.abs(leaf), params.get("statistics", {}))  # variances
        stronger = {"query", "key"}  # so that attention differs between elements
        params = jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf * np.float32(10 if stronger & {getattr(at, "key", None) for at in path} else 1),
            params,
        )
        checkpoints = Checkpoints(folder / "checkpoints", best_metric="nll", best_mode="min")
        state = TrainState(np.asarray(7), params, (), (), np.asarray(0), np.asarray(0))
        checkpoints.save(state, {"wall_seconds": 1.0, "image_shape": list(shape)}, {"nll": 3.0})
        checkpoints.close()
        return folder

    return make


def opened(workdir, dataset=None, dataset_options=""):
    """The subject of an experiment with default options."""
    flags = {"dataset": dataset, "dataset_options": dataset_options, "checkpoint": "best", "seed": None}
    return open_subject(SimpleNamespace(model=[str(workdir)], **flags))


def log_weights_by_hand(subject, values, samples):
    """log p(X, latents) - log q(latents | X) of drawn latents, by SciPy.

    Returns:
      The parts of the latents of the set, [sample, batch], and of each element, [sample, batch, set].
    """
    latents, mask = subject.model.core.latents, jnp.ones(values.shape[:2], bool)

    def infer(params, values, keys):
        elements = latents.encode_values(params, values)
        return jax.vmap(lambda key: latents.infer(params, elements, mask, key))(keys)

    keys = jax.random.split(subject.key(LATENTS), samples)
    trace, logits = jax.device_get(jax.jit(infer)(subject.model.params, values, keys))

    def log_ratio(latent, leading):
        p, q = (norm(one.mean, np.exp(one.log_variance / 2)).logpdf(latent.value) for one in (latent.p, latent.q))
        return (p - q).sum(axis=tuple(range(leading, p.ndim)))

    of_sets = (level.set_latent for level in trace.levels)
    of_sets = sum((log_ratio(latent, 2) for latent in of_sets if latent), np.zeros((samples, 1)))
    elements = sum(log_ratio(level.example_latent, 3) for level in trace.levels)
    return of_sets, elements - np.logaddexp(0, (1 - 2 * values) * logits.astype(np.float64)).sum(axis=(-3, -2, -1))


def bounds_by_hand(subject, values, samples):
    """Bounds on -log p(X) / set size, means over sets: importance-weighted, and of one draw."""
    contexts, elements = log_weights_by_hand(subject, values, samples)
    if contexts.shape[1] == 1:  # a VAE, whose elements have weights of their own
        found = logsumexp(elements, axis=0).sum(axis=1) - values.shape[1] * np.log(samples)
    else:
        found = logsumexp(contexts + elements.sum(axis=2), axis=0) - np.log(samples)
    single = (contexts + elements.sum(axis=2)).mean(axis=0)
    return -found.mean() / values.shape[1], -single.mean() / values.shape[1]


@pytest.mark.parametrize("name", ["ns", "ns_vectors"])
def test_cardinality(workdirs, tmp_path, name):
    content = run("cardinality", workdirs(name), tmp_path, "--set_sizes", "1", "2", "5", "50", "--sets=6")
    assert content["figures"] == ["cardinality.png"]
    assert content["series"]["test"]["set_size"] == [1, 2, 5]
    for prefix in ("", "train_"):
        for size in (1, 2, 5):
            parts = [value(content, f"{prefix}{part}/{size}") for part in ("reconstruction", "kl_z", "kl_c")]
            np.testing.assert_allclose(value(content, f"{prefix}nelbo/{size}"), sum(parts), rtol=1e-5)
            assert min(parts[1:]) > 0
    unit = "nats/element" if name == "ns_vectors" else "nats/image"
    assert content["results"]["nelbo/2"]["unit"] == unit


def test_bounds_of_chunks_are_the_bounds_of_the_model(workdirs, monkeypatch):
    subject = opened(workdirs("ns"))
    values = values_of(subject, draw_sets(subject, "test", 5, 0), "test")
    np.testing.assert_array_equal(regrouped(values, 2)[1], values[0, 2:4])
    latents, every = subject.model.core.latents, jnp.ones(values.shape[:2], bool)

    def elbo(params, values):
        elements = latents.encode_values(params, values)
        return terms.elbo(bounds_of_models.elbo_terms(latents, params, subject.key(LATENTS), elements, every))

    whole = terms_of(subject, values)
    np.testing.assert_allclose(whole.elbo, jax.jit(elbo)(subject.model.params, values), rtol=1e-5)
    many = bounds_of(subject, values, 6)
    contexts, elements = log_weights_by_hand(subject, values, 6)
    weights = contexts + elements.sum(axis=2)
    np.testing.assert_allclose(many.bound, logsumexp(weights, axis=0) - np.log(6), rtol=1e-5)
    np.testing.assert_allclose(many.elbo, weights.mean(axis=0), rtol=1e-5)
    work_bytes = subject.model.core.sets.work_bytes
    monkeypatch.setitem(latent_chunks.CHUNK_BYTES, "cpu", 4 * 5 * work_bytes // 2)  # of 8 sets: 4 per call
    assert latent_chunks.per_call(subject.model.core, values.shape, 6) == (2, 2)
    parts = terms_of(subject, values)
    np.testing.assert_allclose(parts.elbo, whole.elbo, rtol=1e-5)
    few = bounds_of(subject, values, 6)
    for name in few._fields:
        np.testing.assert_allclose(getattr(few, name), getattr(many, name), rtol=1e-3)
    padded = bounds_of(subject, values, 3, mask=np.asarray(every) & (np.arange(5) < 3))
    np.testing.assert_allclose(padded.bound, bounds_of(subject, values[:, :3], 3).bound, rtol=1e-5)


@pytest.mark.parametrize("name", ["ns", "vae", "hfsgm_lag"])
def test_marginal(workdirs, tmp_path, name):
    options = ("--set_sizes", "2", "3", "--sets=4", "--samples=6", "--inner=2", "--positions=3")
    content = run("marginal", workdirs(name), tmp_path, *options)
    assert ("nested_nll/3" in content["results"]) == (name == "ns")
    assert 1 <= value(content, "effective_draws/3") <= 6
    assert "6 draws" in content["results"]["nll/2"]["protocol"]
    assert len(content["series"]["prediction"]["value"]) == 3
    total = sum(content["series"]["prediction"]["value"])  # of another three images of the same classes
    np.testing.assert_allclose(total, 3 * value(content, "nll/3"), rtol=0.2)
    subject = opened(workdirs(name))
    sets = values_of(subject, draw_sets(subject, "test", 3, 4), "test")
    assert ("predictive/0" in content["results"]) == (name == "ns")
    if name == "ns":
        latents, params = subject.model.core.latents, subject.model.params
        elements = jax.jit(latents.encode_values)(params, sets)
        query = jax.tree.map(lambda leaf: leaf[:, 2], elements)
        keys, before = jax.random.split(subject.key(LATENTS), 6), jnp.broadcast_to(jnp.arange(3) < 2, (4, 3))
        weigh = jax.jit(bounds_of_models.predictive_log_weights, static_argnums=0)
        weights = weigh(latents, params, keys, elements, before, query)
        expected = np.log(6) - logsumexp(weights, axis=0).mean()
        np.testing.assert_allclose(value(content, "predictive/2"), expected, rtol=1e-5)
    found = value(content, "nll/3"), value(content, "nelbo/3")
    np.testing.assert_allclose(found, bounds_by_hand(subject, sets, 6), rtol=1e-5)
    inner = ("--inner=1",) if name == "ns" else ()
    options = ("--set_sizes", "3", "--sets=4", "--samples=1", "--positions=0", *inner)
    one = run("marginal", workdirs(name), tmp_path, *options)
    assert value(one, "nll/3") == value(one, "nelbo/3")


def test_kl_layers(workdirs, tmp_path):
    content = run("kl_layers", workdirs("scha_vae"), tmp_path, "--sets=5")
    for name in ("kl_z", "kl_c"):
        levels = [value(content, f"{name}/level_{level}") for level in (1, 2)]
        np.testing.assert_allclose(sum(levels), value(content, f"{name}/total"), rtol=1e-5)
    assert content["series"]["set_size"] == 3


def test_transfer(workdirs, tmp_path):
    options = ("--dataset=pictures", "--dataset_options=contrast=40", "--set_sizes", "2", "--sets=4", "--samples=4")
    content = run("transfer", workdirs("ns"), tmp_path, *options)
    subject = opened(workdirs("ns"), "pictures", "contrast=40")
    sets = values_of(subject, draw_sets(subject, "test", 2, 4), "test")
    np.testing.assert_allclose(value(content, "nll/2"), bounds_by_hand(subject, sets, 4)[0], rtol=1e-5)
    elbo = terms_of(subject, sets).elbo
    np.testing.assert_allclose(value(content, "nelbo/2"), -elbo.mean() / 2, rtol=1e-5)
    assert content["config"]["data"]["options"] == "contrast=40"


def divergence_accuracy_by_hand(subject, shot, draws):
    """Share of the queries nearest to their own class by KL between the posteriors of the latents of the sets."""
    latents = subject.model.core.latents
    count = np.full(CLASSES, COUNT)
    episodes = draw_episodes(subject.rng(0), count, 1, COUNT, CLASSES, shot, COUNT - shot, draws)

    @jax.jit
    def posteriors(params, values):
        elements = latents.encode_values(params, values)
        return latents.set_posteriors(params, SeenElements(elements, jnp.ones(values.shape[:-3], bool)))

    queries = episodes.query.reshape(draws, -1, 1)
    given, asked = (
        posteriors(subject.model.params, values_of(subject, rows, "test")) for rows in (episodes.support, queries)
    )
    divergence = np.zeros((draws, queries.shape[1], CLASSES))
    for support, query in zip(given, asked, strict=True):
        (m, v), (n, w) = ((np.float64(one.mean), np.exp(np.float64(one.log_variance))) for one in (support, query))
        m, v, n, w = m[:, None], v[:, None], n[:, :, None], w[:, :, None]
        divergence += 0.5 * (v / w - 1 - np.log(v / w) + (m - n) ** 2 / w).sum(axis=-1)
    return np.mean(divergence.argmin(axis=2) == np.arange(queries.shape[1]) // (COUNT - shot))


def test_classification(workdirs, tmp_path):
    options = ("--way=4", "--shot=3", "--draws=3", "--queries=0")
    content = run("classification", workdirs("hfsgm_lag"), tmp_path, *options)
    for rule in ("kl", "elbo", "reconstruction"):
        confusion = np.asarray(content["series"][rule]["confusion"])
        queries = 3 if rule == "elbo" else 3 * (COUNT - 3)
        np.testing.assert_array_equal(confusion.sum(axis=1), queries)
        for mean in (np.mean(content["series"][rule]["accuracy"]), np.trace(confusion) / confusion.sum()):
            np.testing.assert_allclose(value(content, f"accuracy/{rule}"), 100 * mean, rtol=1e-5)
    expected = divergence_accuracy_by_hand(opened(workdirs("hfsgm_lag")), shot=3, draws=3)
    np.testing.assert_allclose(value(content, "accuracy/kl"), 100 * expected, rtol=1e-5)
    content = run("classification", workdirs("vae"), tmp_path, *options, "--rules", "reconstruction")
    assert list(content["results"]) == ["accuracy/reconstruction"]


@pytest.mark.parametrize("name", ["ns", "hfsgm_lag", "scha_vae"])
def test_attention(workdirs, tmp_path, name):
    content = run("attention", workdirs(name), tmp_path, "--rows=2", "--sets=5")
    weights = np.asarray(content["series"]["weights"])
    levels, heads = (1 if name == "ns" else 2), (4 if name == "hfsgm_lag" else 1)
    assert weights.shape == (levels, 2, heads, 3)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-4)
    assert len(content["figures"]) == levels
    if heads == 1:
        np.testing.assert_allclose(value(content, "images/level_1"), 3, rtol=1e-4)  # the mean
    else:
        # The elements look alike to the top level of these random parameters, and differ below by the latents above.
        np.testing.assert_allclose(value(content, "images/level_1"), 3, rtol=1e-4)
        assert 1 < value(content, "images/level_2") < 2.9


def test_refinement(workdirs, tmp_path):
    content = run("refinement", workdirs("ns"), tmp_path, "--steps=2", "--sets=4", "--rows=2", "--inferred=top")
    assert content["figures"][-1] == "refinement.png"
    assert len(content["figures"]) == 4
    first = [value(content, f"bound/{mode}/step_0") for mode in ("fixed", "union_posterior", "union_prior")]
    assert len(set(first)) == 1
    assert len(content["series"]["fixed"]["recognised"]) == 3
    content = run("refinement", workdirs("vae"), tmp_path, "--steps=1", "--sets=2", "--modes", "fixed", "--draw_pixels")
    assert list(content["results"]) == ["bound/fixed/step_0", "bound/fixed/step_1"]


def test_set_samples(workdirs, tmp_path):
    options = ("--rows=2", "--columns=4", "--steps=1", "--mode=union_prior", "--means")
    content = run("set_samples", workdirs("hfsgm_lag"), tmp_path, *options)
    assert content["figures"] == ["set_samples.png"]
    assert len(content["series"]["classes"]) == 2


@pytest.mark.parametrize(
    ("name", "argv", "message"),
    [
        ("bruno", ["cardinality"], r"bruno.*: has no latent variables. Choose a model that has"),
        ("vae", ["attention"], r"--model: a VAE has no latent of the set. Choose one of set_latent_levels=top or all."),
        ("vae", ["classification"], r"--model: a VAE has no latent of the set."),
        ("ns_max", ["attention"], r"--model: takes the maximum over a set, which has no weights."),
        ("ns_vectors", ["set_samples"], r"--model: its elements are vectors, and this experiment draws pictures."),
        ("ns", ["classification", "--way=5"], r"--way: there are 4 test classes of more than 5 images, got 5."),
        (
            "ns",
            ["nll", "--noise_draws=2"],
            r"--noise_draws: expected 1 for binarised images, got 2: .* experiments marginal",
        ),
        ("ns", ["marginal", "--samples=2"], r"--inner: expected at most --samples=2, got 10."),
        ("ns", ["kl_layers", "--set_size=11"], r"set size: no test class has 11 images. Use at most 10."),
        ("ns", ["set_samples", "--set_size=11"], r"--set_size: no test class has 11 images. Use at most 10."),
        ("ns", ["transfer", "--dataset=points"], r"--dataset: points has images of 1x1x2, the model wants 28x28x1."),
        ("ns", ["kl_layers", "--dataset_options=a=1"], r"--dataset_options: says nothing without --dataset."),
    ],
)
def test_what_the_model_or_data_cannot_give(workdirs, tmp_path, name, argv, message):
    with pytest.raises(UserError, match=message):
        command.run([*argv, f"--model={workdirs(name)}", f"--out={tmp_path}"])


def test_comparison_names_what_is_scored_and_tightens_the_bounds_of_set_vaes(workdirs, tmp_path):
    options = ("--set_size=2", "--trials=1", "--samples=2", "--importance_samples=3")
    content = run("comparison", workdirs("vae"), tmp_path, f"--model={workdirs('bruno')}", *options)
    models = content["models"]
    assert (models["vae"]["scores"], models["bruno"]["scores"]) == ("binarised pixels, 28x28", "gray levels, 28x28")
    assert content["results"]["vae/test_nll"]["protocol"].endswith("3 draws of the latents")
    assert not any(name.startswith("vae/few_shot") for name in content["results"])
    subject = opened(workdirs("vae"))
    assert comparison.with_draws(subject, 1) is subject
    assert comparison.with_draws(opened(workdirs("bruno")), 3).model is opened(workdirs("bruno")).model
