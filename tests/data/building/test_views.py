"""What all data sets of views have in common: objects held out, 36 views in the order of their angles, (sin, cos)."""

import inspect
from pathlib import Path

import numpy as np
import pytest

from exflow.data import datasets, prepare, prepared, registry
from exflow.data.building import views
from exflow.data.labelled import resolve_options
from exflow.data.registry import SPLITS, TEST, TRAIN, VALIDATION, LabelledImages
from exflow.data.sources import coil, shapenet_views
from exflow.errors import UserError

SMALL = {"num_train": 4, "num_validation": 2, "num_test": 3}
CASES = {  # options, objects per split
    "rotated_glyphs": (SMALL, (4, 2, 3)),
    "rotated_mnist": (SMALL, (4, 2, 3)),
    "rotated_fashion_mnist": (SMALL, (4, 2, 3)),
    "rotated_omniglot": (SMALL, (4, 2, 3)),
    "solids": (SMALL, (4, 2, 3)),
    "coil": ({}, (70, 10, 20)),
    "shapenet_views": ({}, (15, 2, 6)),
}


@pytest.fixture
def sources(clean_registry, cache_dir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small stand-ins for what the data sets are made of, in a folder."""
    rng = np.random.default_rng(0)

    def pictures() -> LabelledImages:
        images = np.zeros((24, 28, 28, 1), np.uint8)
        images[:, 8:20, 8:20] = rng.integers(0, 256, (24, 12, 12, 1))
        labels = np.arange(24, dtype=np.int32) // 2
        split = np.repeat(np.array([TRAIN, VALIDATION, TEST], np.uint8), [12, 4, 8])
        return LabelledImages(images, labels, split)

    for base in ("mnist", "fashion_mnist", "omniglot"):
        registry.register(base, cache=False)(pictures)
    np.savez(
        tmp_path / "coil.npz",
        images=rng.integers(0, 256, (100, 72, 6, 6, 3), dtype=np.uint8),
        angles=np.arange(0, 360, 5),
    )
    for number, objects in zip(shapenet_views.PLANES_CHAIRS.values(), (11, 12), strict=True):
        np.savez(tmp_path / f"{number}.npz", images=rng.integers(0, 256, (objects, 36, 6, 6), dtype=np.uint8))
    monkeypatch.setenv(coil.VARIABLE, str(tmp_path / "coil.npz"))
    monkeypatch.setenv(shapenet_views.VARIABLE, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_objects_are_held_out_and_views_are_in_order(name, sources) -> None:
    options, expected = CASES[name]
    sets = datasets.load(name, image_size=16, **options)
    assert tuple(len(sets[part].count) for part in SPLITS) == expected
    objects = np.concatenate([sets[part].class_ids for part in SPLITS])
    assert len(np.unique(objects)) == len(objects) == sum(expected)
    contents = [x.tobytes() for part in SPLITS for x in sets[part].images[sets[part].index]]
    assert len(set(contents)) == len(contents)

    radians = np.arange(36) * np.pi / 18
    for part in sets.values():
        assert part.images.shape[1:3] == (16, 16)
        assert part.images.dtype == np.uint8
        assert (part.count == 36).all()
        context = part.context[part.index]
        assert context.dtype == np.float32
        np.testing.assert_allclose(context[..., 0], np.broadcast_to(np.sin(radians), context.shape[:2]), atol=1e-7)
        np.testing.assert_allclose(context[..., 1], np.broadcast_to(np.cos(radians), context.shape[:2]), atol=1e-7)
        assert (np.ptp(part.images[part.index].astype(int), axis=1).max(axis=(1, 2, 3)) > 30).all()

    again = datasets.load(name, image_size=16, **options)  # from the cache, where there is one
    for part in SPLITS:
        np.testing.assert_array_equal(again[part].images, sets[part].images)
        np.testing.assert_array_equal(again[part].context, sets[part].context)
    stored = prepared.find(name, resolve_options(name, image_size=16, **options))
    assert (stored is not None) == registry.REGISTRY[name].cache


@pytest.mark.parametrize("name", CASES)
def test_wrong_options_are_refused(name, sources) -> None:
    with pytest.raises(UserError, match=rf"{name}: has no option 'depth'. Its options: image_size"):
        datasets.load(name, depth=3)
    with pytest.raises(UserError, match=rf"{name}: expected image_size >= 4, got 0"):
        datasets.load(name, image_size=0, **CASES[name][0])
    if "num_test" in CASES[name][0]:
        with pytest.raises(UserError, match=rf"{name}: expected at least one object in every split, got \[4, 2, 0\]"):
            datasets.load(name, **{**SMALL, "num_test": 0})
        with pytest.raises(UserError, match=rf"{name}: expected seed >= 0, got -1"):
            datasets.load(name, seed=-1)


@pytest.mark.parametrize("name", ["coil", "shapenet_views"])
def test_prepare_prints_counts(name, sources, capsys) -> None:
    assert prepare.main([name, "--image_size=8"]) == 0
    printed = capsys.readouterr().out
    for part, count in zip(SPLITS, CASES[name][1], strict=True):
        assert f"{part}: {count} classes, {36 * count:,} images, 36 per class" in printed


def test_every_data_set_has_one_line_for_the_catalogue() -> None:
    for name in [*CASES, "mnist_even_odd"]:
        first = inspect.getdoc(registry.REGISTRY[name].build).splitlines()[0]
        assert first.endswith(".")
        assert f"{name} " in prepare.catalogue()


@pytest.mark.parametrize(("total", "expected"), [(4045, (2831, 404, 810)), (6778, (4744, 677, 1357)), (10, (7, 1, 2))])
def test_objects_are_divided_by_the_documented_shuffle(total, expected) -> None:
    split = views.split_objects("x", total)
    assert tuple(np.bincount(split)) == expected
    order = list(range(total))
    np.random.RandomState(42).shuffle(order)
    assert set(np.flatnonzero(split == TRAIN)) == set(order[: expected[0]])
    assert set(np.flatnonzero(split == TEST)) == set(order[-expected[2] :])


def test_too_few_objects_are_refused() -> None:
    with pytest.raises(UserError, match="x: expected at least 10 objects, to have some in every split, got 9"):
        views.split_objects("x", 9)
