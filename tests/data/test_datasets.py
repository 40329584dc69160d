"""Registry, grouping, cache files, and what a user is told when data are missing or damaged."""

import inspect
import re
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from exflow.data import datasets, prepare, prepared, registry, tfds
from exflow.data.registry import SPLITS, TEST, TRAIN, VALIDATION, LabelledImages, group_by_class
from exflow.errors import UserError
from tests.conftest import need_tfds

DATA = LabelledImages(
    np.random.default_rng(0).integers(0, 256, (30, 6, 6, 1), dtype=np.uint8),
    np.repeat(np.arange(10, dtype=np.int32), 3),
    np.repeat(np.array([TRAIN, VALIDATION, TEST], np.uint8), [18, 6, 6]),
)
OPTIONS = {"image_size": 6, "resize": "area"}


@pytest.fixture
def toy(clean_registry, cache_dir) -> list[int]:
    """A registered data set; the list counts how often it was built."""
    built = []

    @registry.register("toy", split="odd")
    def build(image_size: int = 6, resize: str = "area") -> LabelledImages:
        """A toy."""
        built.append(image_size)
        return DATA

    return built


def fails(match: str, call, *arguments, **options) -> str:
    with pytest.raises(UserError, match=match) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_grouping_keeps_order_and_pads_with_valid_rows() -> None:
    labels = np.array([7, 2, 7, 2, 2], np.int32)
    sets = group_by_class(DATA.images[:5], labels, "x")
    np.testing.assert_array_equal(sets.class_ids, [2, 7])
    np.testing.assert_array_equal(sets.count, [3, 2])
    np.testing.assert_array_equal(sets.index, [[1, 3, 4], [0, 2, 0]])
    assert [array.dtype for array in sets[1:4]] == [np.int32] * 3


def test_example_of_the_documentation_works(clean_registry, cache_dir) -> None:
    """The module shows how a fork adds a data set, in less than 40 lines."""
    text = inspect.getdoc(registry)
    code = textwrap.dedent("\n".join(line for line in text.splitlines() if line.startswith("    ")))
    assert len(text.splitlines()) < 40
    exec(code, {})
    sets = datasets.load("stripes", image_size=12)
    assert [len(sets[part].count) for part in SPLITS] == [20, 5, 5]
    assert sets["train"].images.shape == (400, 12, 12, 1)
    assert [path.name[:-20] for path in cache_dir.iterdir()] == ["stripes-12-"]


def test_data_sets_of_the_package_are_found_and_the_users_own_come_first(tmp_path) -> None:
    """In a fresh process, where nothing has been imported: every module of the folder registers something."""
    code = """
        from exflow.data import registry
        own = registry.register("mnist")(lambda: None)
        known = registry.known_data_sets()
        assert known["mnist"].build is own
        print(*sorted({data_set.build.__module__ for data_set in known.values()} - {own.__module__}))
    """
    printed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True)
    files = {path.stem for path in Path(inspect.getfile(registry)).with_name("sources").glob("*.py")}
    expected = files - {"__init__", "mnist"}
    assert printed.stdout.split() == sorted(f"{registry.SOURCES}.{name}" for name in expected)


def test_prepare_imports_data_sets_of_the_user(cache_dir, clean_registry, tmp_path, capsys) -> None:
    text = inspect.getdoc(registry)
    code = textwrap.dedent("\n".join(line for line in text.splitlines() if line.startswith("    ")))
    (tmp_path / "own_stripes.py").write_text(code)
    assert prepare.main(["stripes"]) == 2
    assert "One of your own needs its module in config.imports" in capsys.readouterr().err
    assert prepare.main(["stripes", "--image_size=4", f"--imports={tmp_path / 'own_stripes.py'}, json"]) == 0
    assert "train: 20 classes, 400 images, 20 per class" in capsys.readouterr().out
    assert prepare.main(["--list", "--imports=absent_module"]) == 2
    assert "error: --imports: there is no module 'absent_module'" in capsys.readouterr().err


def test_splits_are_disjoint_and_built_once(toy) -> None:
    for _ in range(2):
        sets = datasets.load("toy")
        assert list(sets) == ["train", "validation", "test"]
        assert [sets[part].class_ids.tolist() for part in sets] == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]
        np.testing.assert_array_equal(sets["test"].images, DATA.images[24:])
        assert sets["test"].name == "toy/test"
    datasets.load("toy", image_size=7)
    assert toy == [6, 7]


@pytest.mark.parametrize("split", ["odd_trainval", "standard_trainval"])
def test_trainval_adds_validation_to_train(toy, split) -> None:
    sets = datasets.load("toy", split=split)
    assert sets["train"].class_ids.tolist() == list(range(8))
    assert sets["validation"].class_ids.tolist() == [6, 7]
    assert sets["test"].class_ids.tolist() == [8, 9]


def test_unknown_names_options_and_splits(toy) -> None:
    fails(r"data set: 'tou' is not known. Did you mean 'toy'\? Known: binarized_mnist, celeba", datasets.load, "tou")
    fails(r"toy: has no option 'depth'. Its options: image_size, resize", datasets.load, "toy", depth=3)
    fails(r"split: expected 'odd' or 'odd_trainval' for toy, got 'vinyals'", datasets.load, "toy", split="vinyals")


def test_cache_round_trip_leaves_one_file(cache_dir) -> None:
    path = prepared.write("toy", OPTIONS, DATA)
    assert list(cache_dir.iterdir()) == [path]
    assert re.fullmatch(r"toy-6-area-[0-9a-f]{16}\.npz", path.name)
    assert prepared.find("toy", OPTIONS) == path
    assert prepared.find("toy", {**OPTIONS, "image_size": 7}) is None
    read = prepared.read(path)
    assert read.context is None
    for array, expected in zip(read[:3], DATA[:3], strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def _rewrite(path: Path, **changes) -> None:
    arrays = {field: array for field, array in DATA._asdict().items() if array is not None and len(array)}
    np.savez(path, **{"format": prepared.FORMAT, **arrays, **changes})


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"no archive" * 50),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "flipped byte": _flip,
    "other format": lambda path: _rewrite(path, format=2),
    "missing array": lambda path: np.savez(path, format=prepared.FORMAT, images=DATA.images),
    "objects": lambda path: _rewrite(path, labels=np.array([{}] * 30, dtype=object)),
    "one plain array": lambda path: np.save(path.open("wb"), DATA.images),
    "float images": lambda path: _rewrite(path, images=DATA.images.astype(np.float32)),
    "wrong length": lambda path: _rewrite(path, labels=DATA.labels[:-1]),
    "negative label": lambda path: _rewrite(path, labels=DATA.labels - 1),
    "no test images": lambda path: _rewrite(path, split=np.minimum(DATA.split, 1)),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_files_are_named_and_kept(toy, damage) -> None:
    datasets.load("toy")
    path = prepared.find("toy", OPTIONS)
    damage(path)
    content = path.read_bytes()
    message = fails("cannot be read as a prepared data set .*Delete this file and run again", datasets.load, "toy")
    assert message.startswith(str(path))
    assert path.read_bytes() == content
    path.unlink()
    datasets.load("toy")
    assert toy == [6, 6]


def test_an_interrupted_write_leaves_nothing(cache_dir, monkeypatch) -> None:
    def interrupted(file, **arrays) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepared.write("toy", OPTIONS, DATA)
    assert list(cache_dir.iterdir()) == []


def test_cache_is_beside_tfds_and_falls_back_to_home(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("EXFLOW_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    path = prepared.write("toy", OPTIONS, DATA)
    assert path == tmp_path / "exflow" / prepared.file_name("toy", OPTIONS)
    path.unlink()
    (tmp_path / "exflow").rmdir()
    (tmp_path / "exflow").write_text("a file where the folder should be")
    fallback = prepared.write("toy", OPTIONS, DATA)
    assert fallback == tmp_path / "home" / ".cache" / "exflow" / path.name
    assert prepared.find("toy", OPTIONS) == fallback
    monkeypatch.setenv("EXFLOW_CACHE_DIR", str(tmp_path / "exflow"))
    fails("toy: prepared data cannot be written to .* Set EXFLOW_CACHE_DIR", prepared.write, "toy", OPTIONS, DATA)


@pytest.mark.parametrize("name", ["omniglot", "mnist", "fashion_mnist", "cifar10", "cifar100_classes"])
def test_missing_data_say_how_to_get_them(name, cache_dir, tmp_path, monkeypatch) -> None:
    def offline(request, timeout):
        assert timeout <= 10
        raise urllib.error.URLError("no network")

    (tmp_path / "tfds").mkdir()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(urllib.request, "urlopen", offline)
    message = fails(
        rf"^{name}: no prepared file in .*, no TFDS data set in .*, no download .*no network", datasets.load, name
    )
    for part in (
        str(cache_dir),
        str(tmp_path / "tfds"),
        f"python -m exflow.data.prepare {name}",
        "configs/bruno_glyphs",
    ):
        assert part in message
    assert list((tmp_path / "tfds").iterdir()) == []


@pytest.mark.parametrize("module", ["tensorflow", "tensorflow_datasets"])
def test_without_tensorflow_the_cache_is_enough(module, cache_dir, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    fails("omniglot: .*tensorflow-datasets is not installed here.*TFDS_DATA_DIR", datasets.load, "omniglot")
    prepared.write("omniglot", {"image_size": 28, "resize": "bilinear"}, DATA)
    assert len(datasets.load("omniglot")["train"].count) == 6


def test_a_wrong_resize_is_refused_before_anything_is_read(cache_dir, monkeypatch) -> None:
    monkeypatch.setattr(tfds, "open_builder", lambda *arguments: pytest.fail("opened"))
    for name in ("omniglot", "mnist", "cifar100_classes"):
        fails(
            "resize: expected one of bilinear, area, nearest, box, pad, got 'cubic'",
            datasets.load,
            name,
            resize="cubic",
        )
        fails("image_size: expected at least 1", datasets.load, name, image_size=0)


def test_a_wrong_tfds_data_dir_is_an_error_at_once(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("EXFLOW_CACHE_DIR", raising=False)
    for wrong in (tmp_path / "missing", tmp_path / "file"):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("TFDS_DATA_DIR", str(wrong))
        fails(f"TFDS_DATA_DIR: expected a folder, got {wrong}", datasets.load, "omniglot")
        assert len(datasets.load("glyphs", num_train=1, num_validation=1, num_test=1)) == 3


def test_images_are_held_out_for_validation(cache_dir, monkeypatch) -> None:
    sizes = {"train": 5030, "test": 20}

    def read(builder, part, channels):
        assert channels == 1
        images = np.zeros((sizes[part], 2, 2, 1), np.uint8)
        images[:, 0, 0, 0] = np.arange(sizes[part]) % 200
        return images, np.arange(sizes[part]) % 10

    monkeypatch.setattr(tfds, "open_builder", lambda *arguments: None)
    monkeypatch.setattr(tfds, "read_images", read)
    sets = datasets.load("fashion_mnist", image_size=2)
    assert [len(sets[part].images) for part in sets] == [30, 5000, 20]
    np.testing.assert_array_equal(sets["train"].images[:, 0, 0, 0], np.arange(30))
    np.testing.assert_array_equal(sets["validation"].images[:2, 0, 0, 0], [30, 31])
    assert all((sets[part].class_ids == np.arange(10)).all() for part in sets)
    sets = datasets.load("mnist", image_size=2, num_validation=10)
    assert [len(sets[part].images) for part in sets] == [5020, 10, 20]
    np.testing.assert_array_equal(sets["validation"].images[:, 0, 0, 0], np.arange(5020, 5030) % 200)
    fails("mnist: expected num_validation >= 1, got 0", datasets.load, "mnist", num_validation=0)
    fails(
        "mnist: expected num_validation < 5030, its training images, got 5030",
        datasets.load,
        "mnist",
        num_validation=5030,
    )


def test_cifar100_is_divided_by_superclass(cache_dir, monkeypatch) -> None:
    """Names of FC100 (Oreshkin et al. 2018) for its splits; superclasses are numbered in the order of their names."""
    held_out = ["aquatic mammals", "insects", "medium mammals", "people"]
    validation = ["large carnivores", "large omnivores and herbivores", "non-insect invertebrates", "small mammals"]
    others = [
        *("fish", "flowers", "food containers", "fruit and vegetables", "household electrical devices", "reptiles"),
        *("household furniture", "large man-made outdoor things", "large natural outdoor scenes", "trees"),
        *("vehicles 1", "vehicles 2"),
    ]
    names = sorted(held_out + validation + others)
    superclass = np.random.default_rng(0).permutation(np.arange(100) // 5)  # of every class, in place of the real ones

    def read(builder, splits, channels, label_of):
        assert (splits, channels) == ("train+test", 3)
        examples = [{"label": row % 100, "coarse_label": superclass[row % 100]} for row in range(600)]
        return np.zeros((600, 2, 2, 3), np.uint8), np.array([label_of(example) for example in examples])

    monkeypatch.setattr(tfds, "open_builder", lambda *arguments: None)
    monkeypatch.setattr(tfds, "read_images", read)
    sets = datasets.load("cifar100_classes", image_size=2, split="fc100")
    for part, expected in zip(sets.values(), (others, validation, held_out), strict=True):
        assert (part.count == 6).all()
        assert len(part.class_ids) == 5 * len(expected)
        assert {names[number] for number in superclass[part.class_ids]} == set(expected)


def test_real_cifar100() -> None:
    need_tfds("cifar100")
    sets = datasets.load("cifar100_classes")
    assert [len(part.count) for part in sets.values()] == [60, 20, 20]
    assert all((part.count == 600).all() for part in sets.values())


def test_prepare_command(toy, cache_dir, capsys) -> None:
    assert prepare.main(["toy", "--image_size=9"]) == 0
    printed = capsys.readouterr().out
    assert f"toy: 6x6x1 in {prepared.find('toy', {'image_size': 9, 'resize': 'area'})}" in printed
    assert "train: 6 classes, 18 images, 3 per class" in printed
    assert prepare.main(["toy", "--options=size=2"]) == 2
    assert "toy: has no option 'size'" in capsys.readouterr().err
    assert prepare.main(["glyphs", "--options=num_train=3, num_validation=1, num_test=2"]) == 0
    assert "train: 3 classes" in capsys.readouterr().out
    assert prepare.main(["--list"]) == 0
    assert re.search(r"^toy +A toy\.$", capsys.readouterr().out, re.MULTILINE)
    assert prepare.main(["nothing"]) == 2
    assert "error: data set: 'nothing' is not known" in capsys.readouterr().err


def test_import_needs_no_tensorflow() -> None:
    code = "import sys, exflow.data.prepare; sys.exit('tensorflow' in sys.modules or 'flax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
