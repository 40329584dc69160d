"""The evaluator of sample quality on toy models: what it draws by capability, beside which real images, and when."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from exflow.config import base_config
from exflow.errors import UserError
from exflow.evaluation import evaluate_split, registry
from exflow.evaluation.evaluators.sample_quality import SAMPLE_QUALITY
from exflow.evaluation.metrics.fid import fid
from exflow.evaluation.run import closing_task
from exflow.evaluation.scoring.generated_images import draw_reference, others_of_class, sources
from exflow.model import CodeFunctions, FittedCodes, Sampler
from tests.evaluation.toy import toy_model, toy_params
from tests.evaluation.toy_data import image_sets
from tests.evaluation.toy_views import conditional_toy

SETS, TRAIN = image_sets([8, 7, 9, 8], spread=40), image_sets([8, 8, 8, 8], seed=1, spread=40)
PARAMS = toy_params(4, covariance=0.99)


def draw(fitted, key, number, method):
    """Codes that are alike: of method "bright" all bits are set, of "flat" as fitted."""
    return np.broadcast_to(fitted["bits"] | (method == "bright"), (number, 4))


MODEL = toy_model()._replace(
    codes=CodeFunctions(
        length=4,
        encode=lambda params, x: x.reshape(*x.shape[:-3], 4) >= 128,
        decode=lambda params, bits: (bits.reshape(*bits.shape[:-1], 2, 2, 1) * 255).astype(np.uint8),
    ),
    sampler=Sampler(("flat", "bright"), lambda codes, method: {"bits": codes[0]}, draw),
)


def fitted_to(method):
    """What either method is fitted to."""
    return {"bits": np.array([True, False, False, True])}


FITTED = FittedCodes(fitted_to, lambda: pytest.fail("the codes themselves are not needed"))


def pixels(images):
    """Features of images: their pixels."""
    return images.reshape(len(images), -1).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def extractor():
    """The function above as mine:pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mine", SimpleNamespace(pixels=pixels))
        yield


def config_with(**options):
    config = base_config("bruno")
    config.data.rotate, config.evaluation.settings, config.evaluation.batch_size = False, (), 16
    chosen = {"num_images": 24, "extractor": "mine:pixels", "metrics": ("fid",), "given": (1, 5)}
    config.evaluation.sample_quality.update(chosen | options)
    return config


def task_of(model=MODEL, fitted=None, lines=None, sets=SETS, **options):
    say = (lambda line: None) if lines is None else lines.append
    task = closing_task(config_with(**options), model, PARAMS, sets, "test", None, say, fitted)
    return task._replace(train=TRAIN)


@pytest.fixture(scope="module")
def drawn():
    """Reference images, and what the model makes of them, by source."""
    task = task_of(fitted=FITTED)
    reference = draw_reference(SETS, 24, 0)
    found = {source.name: (source, source.draw()) for source in sources(task, reference, (1, 5), ("flat", "bright"))}
    return reference, found


def test_reference_images_are_drawn_without_replacement():
    reference = draw_reference(SETS, 24, 0)
    places = SETS.index[reference.label, reference.place]
    assert len(set(places.tolist())) == 24
    assert (reference.place < SETS.count[reference.label]).all()
    np.testing.assert_array_equal(reference.images, SETS.images[places])
    np.testing.assert_array_equal(draw_reference(SETS, 24, 0).label, reference.label)
    assert (draw_reference(SETS, 24, 1).place != reference.place).any()
    everything = draw_reference(SETS, 1000, 0, lambda images: images[:, :1])
    assert everything.images.shape == (32, 1, 2, 1)


def test_what_samples_are_given_are_other_images_of_the_class():
    reference = draw_reference(SETS, 24, 0)
    found = others_of_class(reference, SETS.count, 6, 0)
    for place, label, others in zip(reference.place, reference.label, found, strict=True):
        assert len({place, *others.tolist()}) == 7
        assert max(others) < SETS.count[label]


def test_a_model_makes_what_it_is_capable_of(drawn):
    reference, found = drawn
    assert list(found) == ["prior", "given_1", "given_5", "sampler_flat", "sampler_bright", "reconstruction"]
    for _, images in found.values():
        assert (images.shape, images.dtype) == ((24, 2, 2, 1), np.uint8)
    np.testing.assert_array_equal(found["reconstruction"][1], (reference.images >= 128) * 255)
    np.testing.assert_array_equal(found["sampler_flat"][1][..., 0], np.tile([[255, 0], [0, 255]], (24, 1, 1)))
    assert (found["sampler_bright"][1] == 255).all()
    assert len(np.unique(found["prior"][1])) > 20  # batches and devices draw different images


def test_samples_given_a_set_are_of_the_class_of_their_reference_image(drawn):
    """Within a class images deviate by 40 at most around its base, prior samples by 64."""
    reference, found = drawn
    distance = {name: np.abs(images.astype(float) - reference.images).mean() for name, (_, images) in found.items()}
    assert distance["given_5"] < distance["given_1"] + 3 < distance["prior"]
    assert [source.of_class for source, _ in found.values()] == [False, True, True, False, False, False]


def test_entries(drawn):
    reference, found = drawn
    lines = []
    entries = SAMPLE_QUALITY.evaluate(task_of(fitted=FITTED, lines=lines))
    values = {name: entry["value"] for name, entry in entries.items()}
    train = draw_reference(TRAIN, 24, 0).images
    floor = fid(pixels(train), pixels(reference.images))
    np.testing.assert_allclose(values["test_floor/fid[mine:pixels]"], floor, rtol=1e-6)
    for name in ("prior", "given_1", "given_5", "sampler_flat", "reconstruction"):
        expected = fid(pixels(found[name][1]), pixels(reference.images))
        np.testing.assert_allclose(values[f"test_{name}/fid[mine:pixels]"], expected, rtol=1e-6)
        assert f"floor (real train to real test) {floor:.4g}" in entries[f"test_{name}/fid[mine:pixels]"]["protocol"]
        assert (f"test_{name}/class_fid[mine:pixels]" in entries) == name.startswith("given")
    assert values["test_reconstruction/psnr"] > 0
    assert -1 <= values["test_reconstruction/ssim"] <= 1
    assert (
        "24 test images against 24 samples given 5 other images of the class"
        in (entries["test_given_5/fid[mine:pixels]"]["protocol"])
    )
    assert "comparing samples with 24 test images, features mine:pixels" in lines


def test_what_cannot_be_made_is_left_out_and_said():
    lines = []
    entries = SAMPLE_QUALITY.evaluate(task_of(lines=lines, given=(1, 7), num_images=20))
    kinds = {name.split("/")[0] for name in entries}
    assert kinds == {"test_floor", "test_prior", "test_given_1", "test_reconstruction"}
    assert "samples given 7: skipped, a class of test has no 7 images besides the reference" in lines
    assert "samples of the fitted sampler: skipped, nothing was fitted" in lines
    unlabelled = SETS._replace(labelled=False)
    task = task_of(MODEL._replace(sampler=None, codes=None), sets=unlabelled)
    assert [source.name for source in sources(task, draw_reference(unlabelled, 4, 0), (1,))] == ["prior"]


def test_it_is_off_by_default_and_finds_mistakes_before_training(monkeypatch):
    names = [one.name for one in registry.chosen(base_config("bruno"), MODEL)]
    assert "sample_quality" not in names
    assert "sample_quality" in [one.name for one in registry.chosen(config_with(), MODEL)]
    assert not SAMPLE_QUALITY.requires(conditional_toy())
    lines = []
    config = config_with(num_images=0)
    config.evaluation.evaluators = ("sample_quality",)
    assert evaluate_split(config, MODEL, PARAMS, SETS, "test", None, lines.append) == {}
    assert any("sample_quality: skipped, set config.evaluation.sample_quality.num_images" in line for line in lines)
    with pytest.raises(UserError, match=r"metrics: expected some of fid, kid, prd, manifolds, got \('fid', 'is'\)"):
        registry.check_best_metric(config_with(metrics=("fid", "is")), MODEL)
    with pytest.raises(UserError, match=r"num_images: expected 0 \(off\) or at least 20, got 19"):
        registry.check_best_metric(config_with(num_images=19), MODEL)
    with pytest.raises(UserError, match=r"methods: expected some of flat, bright, got \('cov',\)"):
        registry.check_best_metric(config_with(methods=("cov",)), MODEL)
    assert SAMPLE_QUALITY.evaluate(task_of(sets=image_sets([8, 4]), lines=lines)) == {}
    assert "sample_quality: skipped, test has 12 images, fewer than 20" in lines
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="metrics: prd needs scikit-learn, which is not installed"):
        registry.check_best_metric(config_with(metrics=("prd",)), MODEL)
