"""COIL-100 from a file: its values, and what a user is told when it is missing or wrong."""

from pathlib import Path

import numpy as np
import pytest

from exflow.data import datasets
from exflow.data.building import views
from exflow.data.registry import SPLITS
from exflow.data.sources import coil
from exflow.errors import UserError


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (100, 72, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images) -> Path:
    monkeypatch.setenv(coil.VARIABLE, str(tmp_path / "coil.npz"))
    np.savez(tmp_path / "coil.npz", images=images, angles=5 * np.arange(72))
    return tmp_path / "coil.npz"


@pytest.mark.parametrize("num_views", [36, 72])
def test_views_of_held_out_objects(num_views, path, images) -> None:
    sets = datasets.load("coil", image_size=8, views=num_views)
    split, step = views.split_objects("coil", 100), 72 // num_views
    degrees = np.deg2rad(np.arange(0, 360, 5 * step))
    for number, part in enumerate(SPLITS):
        found = sets[part]
        np.testing.assert_array_equal(found.class_ids, np.flatnonzero(split == number))
        np.testing.assert_array_equal(found.images[found.index], images[split == number][:, ::step])
        np.testing.assert_allclose(found.context[found.index[0], 0], np.sin(degrees), atol=1e-6)


def test_other_sizes_are_means_over_areas(path, images) -> None:
    small = coil.coil(image_size=4).images.reshape(100, 36, 4, 4, 3)
    expected = images[:, ::2].reshape(100, 36, 4, 2, 4, 2, 3).mean(axis=(3, 5))
    np.testing.assert_allclose(small, expected, atol=0.51)


def fails(match: str, **options) -> None:
    with pytest.raises(UserError, match=match) as caught:
        datasets.load("coil", **options)
    assert "\n" not in str(caught.value)


def test_without_a_file_a_user_is_told_what_to_set(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv(coil.VARIABLE, raising=False)
    fails(r"coil: EXFLOW_COIL is not set. Set it to an .npz .*configs/conditional_bruno.py:rotated_glyphs runs without")
    monkeypatch.setenv(coil.VARIABLE, str(tmp_path))
    fails(rf"coil: EXFLOW_COIL names {tmp_path}, which is no file. Set it")


def test_only_36_or_72_views(path) -> None:
    fails("coil: expected views of 36 or 72, got 24", views=24)


ANGLES = 5 * np.arange(72)
WRONG = {
    "truncated": (lambda path, images: path.write_bytes(path.read_bytes()[:-500]), "cannot be read"),
    "no archive": (lambda path, images: path.write_bytes(b"nothing" * 99), "cannot be read"),
    "no angles": (lambda path, images: np.savez(path, images=images), "cannot be read .*angles"),
    "objects": (
        lambda path, images: np.savez(path, images=np.array([{}], dtype=object), angles=ANGLES),
        "cannot be read .*plain arrays",
    ),
    "fewer objects": (
        lambda path, images: np.savez(path, images=images[:99], angles=ANGLES),
        r"expected images uint8 \[100, 72, height, width, 3\], got uint8 \[99, 72, 8, 8, 3\]",
    ),
    "grey": (lambda path, images: np.savez(path, images=images[..., 0], angles=ANGLES), "expected images uint8"),
    "float": (lambda path, images: np.savez(path, images=images / 255, angles=ANGLES), "expected images uint8"),
    "few angles": (lambda path, images: np.savez(path, images=images, angles=ANGLES[::2]), "expected 72 finite angles"),
    "no number": (
        lambda path, images: np.savez(path, images=images, angles=ANGLES * np.nan),
        "expected 72 finite angles",
    ),
}


@pytest.mark.parametrize(("damage", "match"), WRONG.values(), ids=WRONG)
def test_wrong_files_are_named(damage, match, path, images) -> None:
    damage(path, images)
    fails(f"^{path}: {match}")
