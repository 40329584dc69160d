"""Omniglot divided by character: counts, order, pictures of both sources, and damaged files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from exflow.data import datasets, registry
from exflow.data.labelled import load_labelled
from exflow.data.registry import SPLITS, LabelledImages
from exflow.data.sources import omniglot_ns
from exflow.errors import UserError

COUNTS = {"omniglot_ns": [1000, 200, 423], "omniglot_back_eval": [867, 97, 659], "omniglot_random": [867, 97, 659]}
METHODS = {"omniglot_ns": "area", "omniglot_back_eval": "box", "omniglot_random": "box"}


@pytest.fixture
def drawings(clean_registry) -> list[tuple[int, str]]:
    """1,623 characters of 2 pictures of 4x4 in place of Omniglot, numbered; lists how it was asked for."""
    asked, labels = [], np.repeat(np.arange(1623, dtype=np.int32), 2)
    images = np.zeros((3246, 4, 4, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0], images[:, 0, 2, 0] = labels // 256, labels % 256, np.arange(3246) % 2

    @registry.register("omniglot", cache=False)
    def build(image_size: int = 28, resize: str = "bilinear") -> LabelledImages:
        asked.append((image_size, resize))
        return LabelledImages(images, labels, (labels % 3).astype(np.uint8))

    return asked


@pytest.mark.parametrize("name", COUNTS)
def test_characters_are_divided(name, drawings) -> None:
    sets = datasets.load(name, image_size=4, resize="bilinear")
    assert drawings == [(4, METHODS[name])]  # whatever the configuration says
    assert [len(sets[part].count) for part in SPLITS] == COUNTS[name]
    every = np.concatenate([sets[part].class_ids for part in SPLITS])
    np.testing.assert_array_equal(np.sort(every), np.arange(1623))
    for part in sets.values():
        pictures = part.images[part.index].astype(int)
        numbers = 256 * pictures[:, :, 0, 0, 0] + pictures[:, :, 0, 1, 0]
        np.testing.assert_array_equal(numbers, part.class_ids[:, None] + [[0, 0]])
        np.testing.assert_array_equal(pictures[:, :, 0, 2, 0], np.tile([0, 1], (len(part.count), 1)))


def test_background_characters_come_in_order(drawings) -> None:
    sets = datasets.load("omniglot_back_eval")
    for part, first, last in zip(SPLITS, (0, 867, 964), (867, 964, 1623), strict=True):
        np.testing.assert_array_equal(sets[part].class_ids, np.arange(first, last))


@pytest.mark.parametrize("name", ["omniglot_ns", "omniglot_random"])
def test_random_divisions_depend_on_the_seed_alone(name, drawings) -> None:
    tests = [set(datasets.load(name, seed=seed)["test"].class_ids.tolist()) for seed in (0, 0, 1)]
    assert tests[0] == tests[1]
    share = len(tests[0]) / 1623
    assert abs(len(tests[0] & tests[2]) / len(tests[0]) - share) < 5 * np.sqrt(share * (1 - share) / len(tests[0]))


@pytest.fixture
def chardata(tmp_path: Path, monkeypatch) -> dict[str, np.ndarray]:
    """A small file of the form of chardata.mat: 1,210 characters of one or two pictures, in two parts."""
    rng = np.random.default_rng(0)
    characters = np.concatenate([np.arange(1210), np.arange(50)])  # the second part shares 50 characters
    pictures = rng.integers(0, 256, (len(characters), 28, 28))
    arrays = {}
    for prefix, rows in (("", slice(1000)), ("test", slice(1000, None))):
        columns = pictures[rows].swapaxes(1, 2).reshape(-1, 784).T / 255
        arrays |= {
            f"{prefix}data": columns.astype(np.float32),
            f"{prefix}target": np.eye(50)[:, characters[rows] % 50],
            f"{prefix}targetchar": (characters[rows] // 50 + 1)[None],
        }
    savemat(tmp_path / "chardata.mat", arrays)
    monkeypatch.setenv(omniglot_ns.VARIABLE, str(tmp_path / "chardata.mat"))
    return arrays | {"pictures": pictures, "characters": characters}


def test_pictures_of_burda_are_upright_and_grouped_by_alphabet_and_character(chardata) -> None:
    data = registry.REGISTRY["omniglot_ns"].build(source="burda")
    np.testing.assert_array_equal(data.images[..., 0], chardata["pictures"])
    _, expected = np.unique(chardata["characters"], return_inverse=True)
    pairs = set(zip(data.labels.tolist(), expected.tolist(), strict=True))
    assert len(pairs) == len(set(data.labels.tolist())) == 1210  # one to one
    splits = set(zip(data.labels.tolist(), data.split.tolist(), strict=True))
    assert len(splits) == 1210  # one split per character
    assert np.bincount([part for _, part in splits]).tolist() == [1000, 200, 10]
    assert datasets.load("omniglot_ns", source="burda", image_size=14)["test"].images.shape[1:] == (14, 14, 1)


def test_wrong_files_and_options_are_told_in_one_line(chardata, drawings, tmp_path, monkeypatch) -> None:
    path = tmp_path / "chardata.mat"
    names = [name for name in chardata if name not in ("pictures", "characters")]
    good = {name: chardata[name] for name in names}
    content = path.read_bytes()
    damages = {
        r"cannot be read as chardata.mat \(.*testdata": lambda: savemat(path, {"data": good["data"]}),
        r"pixels .*to 510": lambda: savemat(path, good | {"data": 510 * (good["data"] > 0.5)}),
        r"\(shapes ": lambda: savemat(path, good | {"targetchar": good["targetchar"][:, :9]}),
        "chardata.mat .*Expected data": lambda: path.write_bytes(content[: len(content) // 2]),
        "chardata.mat .*Expected": lambda: path.write_bytes(b"MATLAB 7.3 MAT-file" + 400 * b" "),
        "cannot be read as chardata.mat": lambda: savemat(path, good | {"target": np.array([[{}]], object)}),
    }
    for message, damage in damages.items():
        damage()
        with pytest.raises(UserError, match=message) as caught:
            datasets.load("omniglot_ns", source="burda")
        assert "\n" not in str(caught.value)
    few = {name: array[:, :500] if name.startswith("test") else array[:, :600] for name, array in good.items()}
    savemat(path, few)
    with pytest.raises(UserError, match="omniglot_ns: expected 1623 characters, got 8"):
        datasets.load("omniglot_ns", source="burda")
    monkeypatch.delenv(omniglot_ns.VARIABLE)
    with pytest.raises(UserError, match="EXFLOW_CHARDATA is not set. Set it to the file chardata.mat .*source=tfds"):
        datasets.load("omniglot_ns", source="burda")
    with pytest.raises(UserError, match="omniglot_ns: expected source of 'tfds' or 'burda', got 'mat'"):
        datasets.load("omniglot_ns", source="mat")
    with pytest.raises(UserError, match="omniglot_random: expected seed >= 0, got -1"):
        datasets.load("omniglot_random", seed=-1)


@pytest.mark.slow  # reads Omniglot twice
def test_real_drawings_by_the_box_filter(omniglot_available) -> None:
    sets = datasets.load("omniglot_back_eval")
    original = load_labelled("omniglot", image_size=105, resize="nearest")
    for label in (0, 866, 1622):
        part = next(part for part in sets.values() if label in part.class_ids)
        images = part.images[part.index[part.class_ids == label][0]]
        for image, ink in zip(images, original.images[original.labels == label], strict=True):
            black_on_white = Image.fromarray(255 - ink[..., 0])
            expected = 255 - np.asarray(black_on_white.resize((28, 28), Image.Resampling.BOX)).astype(int)
            assert np.abs(image[..., 0] - expected).max() <= 2  # halves are rounded the other way
