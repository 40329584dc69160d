"""CelebA by person from a folder like the real one: who is where, and what a user is told."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exflow.data import datasets
from exflow.data.registry import SPLITS
from exflow.data.sources import celeba
from exflow.errors import UserError

COUNTS = {40 + 3 * number: 20 + number % 11 for number in range(13)} | {7: 19, 8: 31}  # pictures by person


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> Path:
    """Pictures of 24x30 whose centre tells person and number; losslessly stored, in mixed order of persons."""
    folder = tmp_path_factory.mktemp("celeba")
    (folder / celeba.PICTURES).mkdir()
    persons = np.random.default_rng(0).permutation(np.repeat(list(COUNTS), list(COUNTS.values())))
    lines = []
    for number, person in enumerate(persons, start=1):
        pixels = np.full((30, 24, 3), 255, np.uint8)
        pixels[7:23, 4:20] = person, number // 256, number % 256
        name = f"{number:06d}.jpg"
        Image.fromarray(pixels).save(folder / celeba.PICTURES / name, format="png")
        lines.append(f"{name} {person}\n")
    (folder / celeba.IDENTITIES).write_text("".join(lines))
    return folder


def test_persons_with_enough_pictures_are_divided_in_order(complete, cache_dir, monkeypatch) -> None:
    monkeypatch.setenv(celeba.VARIABLE, str(complete))
    sets = datasets.load("celeba_identities", image_size=8, crop=16)
    used = sorted(person for person, count in COUNTS.items() if 20 <= count <= 30)
    expected = dict(zip(SPLITS, (used[:9], used[9:10], used[10:]), strict=True))  # 13 persons: 9.1, 10.4
    lines = (complete / celeba.IDENTITIES).read_text().split("\n")
    for part in SPLITS:
        assert sets[part].class_ids.tolist() == expected[part]
        for person, rows, count in zip(sets[part].class_ids, sets[part].index, sets[part].count, strict=True):
            assert count == COUNTS[person]
            images = sets[part].images[rows[:count]].astype(int)
            assert (images == images[:, :1, :1]).all()  # nothing of the border
            numbers = 256 * images[:, 0, 0, 1] + images[:, 0, 0, 2]
            assert (images[:, 0, 0, 0] == person).all()
            assert [f"{number:06d}.jpg {person}" for number in numbers] == [lines[number - 1] for number in numbers]
            assert len(set(numbers)) == count
    monkeypatch.delenv(celeba.VARIABLE)
    assert len(datasets.load("celeba_identities", image_size=8, crop=16)) == 3  # from the cache


def test_a_prepared_tensorflow_data_set_gives_the_same(complete, cache_dir, tmp_path, monkeypatch) -> None:
    """The same pictures through an imitation of the builder; the real data set cannot be had here."""
    monkeypatch.setenv(celeba.VARIABLE, str(complete))
    expected = celeba.celeba_identities(image_size=8, crop=16)
    tf = pytest.importorskip("tensorflow")
    names = (complete / celeba.IDENTITIES).read_text().split()[::2]
    persons = np.array((complete / celeba.IDENTITIES).read_text().split()[1::2], np.int64)
    pictures = [(complete / celeba.PICTURES / name).read_bytes() for name in names]

    class Builder:
        name = "celeb_a"

        def as_dataset(self, split, decoders, shuffle_files):
            assert (split, shuffle_files, set(decoders)) == ("train+validation+test", False, {"image"})
            attributes = {"Smiling": np.arange(len(persons)) % 2 == 0, "Bald": persons > 50}
            examples = {"image": pictures, "identity": {"Identity_No": persons}, "attributes": attributes}
            return tf.data.Dataset.from_tensor_slices(examples)

    (tmp_path / "celeb_a" / "2.1.0").mkdir(parents=True)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.delenv(celeba.VARIABLE)
    monkeypatch.setattr(celeba.tfds, "open_builder", lambda *_: Builder())
    data = celeba.celeba_identities(image_size=8, crop=16)
    for found, wanted in zip(data[:4], expected[:4], strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert data.attribute_names == ("Bald", "Smiling")
    numbers = 256 * data.images[:, 0, 0, 1].astype(int) + data.images[:, 0, 0, 2]  # of the pictures, from 1
    np.testing.assert_array_equal(data.attributes, np.stack([data.labels > 50, numbers % 2 == 1], axis=1))
    test = datasets.load("celeba_identities", image_size=8, crop=16)["test"]
    np.testing.assert_array_equal(test.attributes, data.attributes[data.split == 2])
    with pytest.raises(UserError, match=r"celeb_a, picture \d+: has 24x30 pixels, crop is 25. Set crop=24"):
        celeba.celeba_identities(image_size=8, crop=25)


def test_published_counts() -> None:
    split = celeba.split_of_identities(np.arange(6349, dtype=np.int32))
    assert np.bincount(split).tolist() == [4444, 635, 1270]
    assert (np.diff(split.astype(int)) >= 0).all()


def test_what_is_missing_or_wrong_is_named(complete, cache_dir, tmp_path, monkeypatch) -> None:
    def fails(match: str, **options) -> None:
        with pytest.raises(UserError, match=match) as caught:
            datasets.load("celeba_identities", image_size=8, **{"crop": 16, **options})
        assert "\n" not in str(caught.value)

    monkeypatch.delenv(celeba.VARIABLE, raising=False)
    fails("celeba_identities: EXFLOW_CELEBA is not set. Set it to a folder with img_align_celeba.* runs without it")
    folder = shutil.copytree(complete, tmp_path / "celeba")
    monkeypatch.setenv(celeba.VARIABLE, str(folder))
    fails("crop >= 1, got 0", crop=0)
    fails(r"\.jpg: has 24x30 pixels, crop is 25. Set crop=24", crop=25)
    person_of = celeba.read_identities(folder / celeba.IDENTITIES)
    first = folder / celeba.PICTURES / next(name for name, person in person_of.items() if person > 8)
    first.write_bytes(first.read_bytes()[:80])
    fails(rf"^{first}: cannot be read .* EXFLOW_CELEBA names")
    first.unlink()
    fails(rf"^{first}: cannot be read")
    identities = folder / celeba.IDENTITIES
    text = identities.read_text()
    for line in ("a.jpg", "a.jpg x", "../a.jpg 3"):
        identities.write_text(f"{line}\n{text}")
        fails(rf"{identities}, line 1: expected '<file name> <number>', got '{line}'")
    identities.write_text(text[: len(text) // 2])
    fails(r"expected at least 10 persons with 20 to 30 pictures, got \d+. Complete it")
    identities.unlink()
    fails(rf"^{identities}: cannot be read")
