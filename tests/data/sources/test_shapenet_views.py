"""ShapeNet renders: both kinds of folders, the split, grey conversion, and what a user is told about wrong files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exflow.data import datasets
from exflow.data.building import views
from exflow.data.sources import shapenet_views
from exflow.data.sources.shapenet_views import PLANES_CHAIRS, TWELVE, read_category
from exflow.errors import UserError

PLANES, CHAIRS = PLANES_CHAIRS.values()


@pytest.fixture
def folder(tmp_path: Path, cache_dir, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(shapenet_views.VARIABLE, str(tmp_path / "shapenet"))
    (tmp_path / "shapenet").mkdir()
    return tmp_path / "shapenet"


def renders(num_objects: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_objects, 36, *shape), dtype=np.uint8)


def write_tree(folder: Path, images: np.ndarray) -> None:
    """Objects named so that the order of names is that of the array; views without leading zeros."""
    for number, item in enumerate(images):
        (folder / f"object{number:02}").mkdir(parents=True)
        for view, image in enumerate(item):
            Image.fromarray(image).save(folder / f"object{number:02}" / f"render_{view}.png")


def fails(match: str, **options) -> None:
    with pytest.raises(UserError, match=match) as caught:
        datasets.load("shapenet_views", **options)
    assert "\n" not in str(caught.value)


def test_archives_and_trees_give_the_same_images(folder) -> None:
    images = renders(3, 5, 5)
    np.savez(folder / f"{PLANES}.npz", images=images)
    write_tree(folder / CHAIRS, images)
    for number in (PLANES, CHAIRS):
        np.testing.assert_array_equal(read_category(folder, number, 5), images[..., None])


def test_each_category_is_divided_by_itself(folder) -> None:
    planes, chairs = renders(10, 4, 4), renders(20, 4, 4, seed=1)
    np.savez(folder / f"{PLANES}.npz", images=planes)
    np.savez(folder / f"{CHAIRS}.npz", images=chairs[..., None])
    sets = datasets.load("shapenet_views", image_size=4)
    assert [len(part.count) for part in sets.values()] == [21, 3, 6]
    both = np.concatenate([planes, chairs])[..., None]
    split = np.concatenate([views.split_objects("", 10), views.split_objects("", 20)])
    for number, part in enumerate(sets.values()):
        np.testing.assert_array_equal(part.images[part.index], both[split == number])


def test_twelve_categories_are_divided_together(folder) -> None:
    images = {number: renders(2, 4, 4, seed=seed) for seed, number in enumerate(sorted(TWELVE.values()))}
    for number, part in images.items():
        np.savez(folder / f"{number}.npz", images=part)
    sets = datasets.load("shapenet_views", image_size=4, categories="twelve")
    split = views.split_objects("", 24)
    assert [len(part.count) for part in sets.values()] == [16, 2, 6]
    test = sets["test"]
    np.testing.assert_array_equal(test.images[test.index][..., 0], np.concatenate(list(images.values()))[split == 2])


def test_pictures_become_grey_on_white_and_are_resized_by_lanczos(folder) -> None:
    low, high = (60, 60, 60, 100), (161, 161, 161, 256)  # far from 0 and 255, where Pillow cuts what overshoots
    images = np.random.default_rng(0).integers(low, high, (1, 36, 12, 12, 4), dtype=np.uint8)
    np.savez(folder / f"{PLANES}.npz", images=images)
    found = read_category(folder, PLANES, 6)[0, ..., 0]
    colour = images[0].astype(np.float64)
    opaque = colour[..., 3:] / 255
    luma = (opaque * colour[..., :3] + 255 * (1 - opaque)) @ [0.299, 0.587, 0.114]
    expected = [Image.fromarray(view.astype(np.float32)).resize((6, 6), Image.Resampling.LANCZOS) for view in luma]
    np.testing.assert_allclose(found, np.stack([np.asarray(x) for x in expected]), atol=2.5)


def test_without_the_folder_a_user_is_told_what_to_set(tmp_path, monkeypatch, cache_dir) -> None:
    monkeypatch.delenv(shapenet_views.VARIABLE, raising=False)
    fails(r"shapenet_views: EXFLOW_SHAPENET_VIEWS is not set. Set it to a folder .*rotated_glyphs runs without it")
    monkeypatch.setenv(shapenet_views.VARIABLE, str(tmp_path / "nowhere"))
    fails(r"shapenet_views: EXFLOW_SHAPENET_VIEWS names .*nowhere, which is no folder")


def test_missing_categories_and_objects_are_named(folder) -> None:
    fails("shapenet_views: expected categories of 'planes_chairs' or 'twelve', got 'cars'", categories="cars")
    fails(f"shapenet_views: expected the file .*{PLANES}.npz or the folder .*{PLANES}, found neither")
    (folder / PLANES).mkdir()
    fails(f"{folder / PLANES}: expected one folder per object, found none")
    np.savez(folder / f"{PLANES}.npz", images=renders(9, 4, 4))
    np.savez(folder / f"{CHAIRS}.npz", images=renders(10, 4, 4))
    fails(f"shapenet_views {PLANES}: expected at least 10 objects")


def test_wrong_pictures_are_named(folder) -> None:
    write_tree(folder / PLANES, renders(1, 4, 4))
    (folder / PLANES / "object00" / "render_7.png").write_bytes(b"no picture")
    fails("render_7.png: cannot be read .*Replace it or remove its folder")
    (folder / PLANES / "object00" / "render_7.png").unlink()
    fails("object00: expected 36 .png files, got 35. Complete or remove it")


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (
            renders(10, 4, 4)[:, :30],
            r"expected images uint8 \[objects, 36, height, width\] .*got uint8 \[10, 30, 4, 4\]",
        ),
        (renders(10, 4, 4) / 255, "expected images uint8"),
        (renders(10, 4, 4, 2), "expected images uint8"),
        (renders(0, 4, 4), "expected images, got none"),
        (np.array([{}], dtype=object), "cannot be read"),
    ],
)
def test_wrong_archives_are_named(images, match, folder) -> None:
    np.savez(folder / f"{PLANES}.npz", images=images)
    fails(f"{PLANES}.npz: {match}")
