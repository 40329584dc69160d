"""Checkpoints: bits survive, damage is noticed, the latest and the best stay, and what does not fit is refused."""

import json
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.config import from_json
from exflow.errors import UserError
from exflow.models.registry import build, params_like
from exflow.training.array_names import described, fitting, from_description, named_leaves
from exflow.training.checkpoint import Checkpoints
from exflow.training.checkpoint_format import DamagedCheckpoint, from_format_1, list_steps, read_checkpoint
from exflow.training.optimizer import make_optimizer
from exflow.training.sharding import make_mesh, replicate
from exflow.training.state import TrainState
from exflow.training.step import init_train_state


def state_at(step, width=3):
    """A state whose values depend on the step, with all kinds of leaves: scalars, nested tuples, empty arrays."""
    rng = np.random.default_rng(step)
    params = {
        "flow": ({"kernel": rng.normal(size=(4, width)).astype(np.float32)}, (), [rng.normal(size=5)]),
        "process": {"mean": np.array([-0.0, np.nan, np.inf, 1e-45], np.float32), "none": np.zeros((0, 2), np.float32)},
    }
    scalars = np.int32(1), np.int32(7)
    return TrainState(np.int32(step), params, (), (jnp.int32(step), params["flow"]), *scalars)


def bits(tree):
    return {name: np.asarray(leaf).tobytes() for name, leaf in named_leaves(tree).items()}


def saved(directory, steps=(10, 20, 30), **options):
    """Checkpoints written at `steps`."""
    lines = []
    checkpoints = Checkpoints(directory, **{"keep": 3, "notify": lines.append, **options})
    for step in steps:
        checkpoints.save(state_at(step), {"wall_seconds": float(step)})
    checkpoints.close()
    assert lines == []


def reopened(directory, **options):
    lines = []
    return Checkpoints(directory, notify=lines.append, **options), lines


def test_every_bit_survives(tmp_path):
    saved(tmp_path)
    state, meta = Checkpoints(tmp_path).restore(state_at(0))
    chex.assert_trees_all_equal_structs(state, state_at(0))
    assert bits(state) == bits(state_at(30))
    assert state.params["process"]["none"].shape == (0, 2)
    assert (meta["step"], meta["wall_seconds"]) == (30, 30.0)


def test_a_part_can_be_read_alone(tmp_path):
    saved(tmp_path)
    with jax.enable_x64(True):  # the state holds a float64 array
        like = {"params": jax.eval_shape(lambda: jax.tree.map(jnp.asarray, state_at(0).params))}
    part, _ = Checkpoints(tmp_path, read_only=True).restore(like)
    assert bits(part) == bits({"params": state_at(30).params})


def test_device_arrays_may_be_reused_at_once(tmp_path):
    """The copy is made before `save` returns: donating or deleting the state afterwards does no harm."""
    with jax.enable_x64(True):
        state = replicate(make_mesh(jax.devices()), state_at(10))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state, {})
    for leaf in jax.tree.leaves(state):
        leaf.delete()
    checkpoints.close()
    found = Checkpoints(tmp_path).restore(state_at(0))
    assert bits(found[0]) == bits(state_at(10))


def test_latest_and_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2, best_metric="nll", best_mode="min")
    scores = {1: 5.0, 2: 3.0, 3: 4.0, 4: None, 5: 3.5, 6: float("nan")}
    for step, score in scores.items():
        metrics = {} if score is None else {"nll": score, "other": 1.0}
        assert checkpoints.is_best(metrics) == (step in (1, 2))
        checkpoints.save(state_at(step), {}, metrics)
    checkpoints.close()
    assert list_steps(tmp_path) == [2, 5, 6]
    again = Checkpoints(tmp_path, keep=1, best_metric="nll", best_mode="min")
    assert again.best_step() == 2
    assert again.restore(state_at(0), "best")[1]["metrics"] == {"nll": 3.0, "other": 1.0}
    assert again.restore(state_at(0))[1]["step"] == 6
    again.save(state_at(7), {}, {"nll": 2.0})
    again.close()
    assert list_steps(tmp_path) == [7]
    assert Checkpoints(tmp_path, best_metric="nll", best_mode="max").best_step() == 7


def test_a_step_is_saved_once(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state_at(10), {"run": 1})
    checkpoints.save(state_at(10), {"run": 2})
    checkpoints.close()
    assert Checkpoints(tmp_path).restore(state_at(0))[1]["run"] == 1


def test_nothing_there(tmp_path):
    checkpoints, lines = reopened(tmp_path / "none")
    assert checkpoints.restore(state_at(0)) is None
    assert lines == []
    assert not (tmp_path / "none").exists()


def files_of(step_folder):
    return sorted(path for path in step_folder.rglob("*") if path.is_file() and path.stat().st_size)


def damage(path, kind):
    """Damage one file."""
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "deleted":
        path.unlink()
    elif kind == "garbage":
        path.write_bytes(bytes(np.random.default_rng(0).integers(0, 256, len(content), np.uint8)))
    else:  # one bit
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :])


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A folder with three good checkpoints, to be copied."""
    directory = tmp_path_factory.mktemp("three")
    saved(directory)
    return directory


@pytest.mark.parametrize("kind", ["truncated", "deleted", "garbage", "bit"])
def test_any_damaged_file_is_noticed_or_harmless(three, tmp_path, kind):
    """Whatever happens to any one file, what is read is what was written, or the previous checkpoint."""
    noticed = 0
    names = [path.relative_to(three / "30") for path in files_of(three / "30")]
    for number, name in enumerate(names):
        directory = tmp_path / str(number)
        shutil.copytree(three, directory)
        damage(directory / "30" / name, kind)
        checkpoints, lines = reopened(directory)
        state, meta = checkpoints.restore(state_at(0))
        assert bits(state) == bits(state_at(meta["step"])), name
        if meta["step"] == 20:
            noticed += 1
            assert len(lines) == 1
            assert f"checkpoint 30 in {directory} is damaged" in lines[0]
            assert "kept as 30.damaged" in lines[0]
            assert (directory / "30.damaged").is_dir()
        else:
            assert (meta["step"], lines) == (30, [])
    data = [name for name in names if name.parts[0] == "state" and "d" in name.parts[:-1]]
    assert noticed >= max(2, len(data) // 2)  # Orbax stores some things twice


def test_damaged_meta_data(three, tmp_path):
    """A changed number in the JSON is noticed as well."""
    shutil.copytree(three, tmp_path / "copy")
    path = tmp_path / "copy" / "30" / "meta" / "metadata"
    path.write_text(path.read_text().replace('"wall_seconds": 30', '"wall_seconds": 31'))
    with pytest.raises(DamagedCheckpoint, match="differs"):
        read_checkpoint(tmp_path / "copy" / "30")


def test_training_goes_on_after_damage(three, tmp_path):
    """Two bad ones in a row; the same steps can be saved again; what was set aside stays."""
    directory = tmp_path / "copy"
    shutil.copytree(three, directory)
    for step in (20, 30):
        shutil.rmtree(directory / str(step) / "state")
    checkpoints, lines = reopened(directory, keep=3)
    assert checkpoints.restore(state_at(0))[1]["step"] == 10
    assert [line.split()[1] for line in lines] == ["30", "20"]
    for step in (20, 30):
        checkpoints.save(state_at(step), {})
    checkpoints.close()
    assert list_steps(directory) == [10, 20, 30]
    assert {path.name for path in directory.iterdir()} == {"10", "20", "30", "20.damaged", "30.damaged"}
    shutil.rmtree(directory / "30" / "state")
    checkpoints, lines = reopened(directory)
    assert checkpoints.restore(state_at(0))[1]["step"] == 20
    assert "kept as 30.damaged-1" in lines[0]


def test_an_older_damaged_checkpoint_does_not_stop_saving(three, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(three, directory)
    for path in files_of(directory / "10"):
        path.write_bytes(b"garbage")
    checkpoints, lines = reopened(directory, keep=2, best_metric="nll")
    assert checkpoints.restore(state_at(0))[1]["step"] == 30
    checkpoints.save(state_at(40), {}, {"nll": 1.0})
    checkpoints.close()
    assert lines == []
    assert list_steps(directory) == [30, 40]


def test_all_damaged(three, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(three, directory)
    for step in (10, 20, 30):
        (directory / str(step) / "meta" / "metadata").write_text("{")
    checkpoints, lines = reopened(directory)
    assert checkpoints.restore(state_at(0)) is None
    assert len(lines) == 3


def test_half_written_checkpoint_is_told_and_ignored(three, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(three, directory)
    (directory / "30").rename(directory / "40.orbax-checkpoint-tmp-123")
    checkpoints, lines = reopened(directory)
    assert checkpoints.restore(state_at(0))[1]["step"] == 20
    assert lines == [f"checkpoint 40 in {directory} was only half written: ignored."]


def test_reading_only_changes_nothing(three, tmp_path):
    """Another process may be training in the directory."""
    directory = tmp_path / "copy"
    shutil.copytree(three, directory)
    shutil.rmtree(directory / "30" / "state")
    (directory / "40.orbax-checkpoint-tmp-123").mkdir()
    before = sorted(path.relative_to(directory) for path in directory.rglob("*"))
    checkpoints, lines = reopened(directory, read_only=True)
    assert checkpoints.restore(state_at(0))[1]["step"] == 20
    assert sorted(path.relative_to(directory) for path in directory.rglob("*")) == before
    assert "trying another" in lines[0]


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (state_at(0, width=6), r"params/flow/0/kernel: checkpoint has float32\[4, 3\], config needs float32\[4, 6\]"),
        (
            state_at(0)._replace(params={"flow": state_at(0).params["flow"], "process": {}}),
            r"params/process/mean: checkpoint has float32\[4\], config needs nothing",
        ),
        (
            state_at(0)._replace(ema_params={"w": np.zeros(2)}),
            r"ema_params/w: checkpoint has nothing, config needs float64\[2\]",
        ),
        (state_at(0)._replace(opt_state=(np.float32(0), state_at(0).params["flow"])), r"opt_state/0: .* needs float32"),
    ],
)
def test_what_does_not_fit_is_refused(three, like, message):
    before = {path: path.read_bytes() for path in files_of(three)}
    with pytest.raises(UserError, match=message) as caught:
        Checkpoints(three).restore(like)
    assert "Use another --workdir" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in files_of(three)} == before


@pytest.mark.parametrize("name", ["bruno", "set_vae"])
def test_states_of_format_1_fit_training_states_of_today(repository, name):
    """Working directories of the last version that wrote format 1, whatever the model."""
    workdir = repository / "tests" / "frozen" / name
    config = from_json((workdir / "config.json").read_text())
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    _, meta = read_checkpoint(workdir / "checkpoints" / str(checkpoints.steps()[-1]))
    assert meta["format"] == 1
    model = build(config, tuple(meta["image_shape"]))
    optimizer, _ = make_optimizer(config.optimizer, config.training.num_steps, model.group_of)
    mesh, ema_decay = make_mesh(jax.devices()[:1]), config.optimizer.ema_decay
    like = jax.eval_shape(
        lambda params: init_train_state(optimizer, params, ema_decay, mesh), params_like(model, config)
    )
    state, _ = checkpoints.restore(like)
    assert int(state.step) == meta["step"]
    counts = [leaf for path, leaf in named_leaves(state.opt_state).items() if path.endswith("count")]
    assert {int(count) for count in counts} == {meta["step"]}


def test_single_precision_fits_a_program_in_double_but_not_the_other_way_round(tmp_path):
    single = {"w": np.array([0.1, 2.5], np.float32), "count": np.int32(3)}
    double = {"w": np.zeros(2, np.float64), "count": np.int32(0)}
    found = fitting(single, double, tmp_path)
    assert (found["w"].dtype, found["count"].dtype) == (np.float64, np.int32)
    np.testing.assert_array_equal(found["w"], single["w"])
    with pytest.raises(UserError, match=r"w: checkpoint has float64\[2\], config needs float32.* set JAX_ENABLE_X64=1"):
        fitting(double, single, tmp_path)
    with pytest.raises(UserError, match=r"count: checkpoint has int32\[\], config needs float64"):
        fitting(single, {"w": double["w"], "count": np.float64(0)}, tmp_path)


def test_groups_of_format_1():
    """The main group was called "flow"; what had no parameters held only counters of updates."""
    former = ("count", "mean/flow/w", "square/flow/w")
    old = {f"opt_state/1/inner_states/flow/inner_state/0/{name}": np.array(1, np.float32) for name in former}
    old |= {
        f"opt_state/1/inner_states/process/inner_state/{name}": np.array(2, np.int32)
        for name in ("0", "1/count", "3/count")
    }
    old |= {"opt_state/0/count": np.array(3, np.int32), "params/process/mean": np.array(4, np.float32)}
    names = {f"opt_state/1/main/0/{name}" for name in former} | {"opt_state/0/count", "params/process/mean"}
    assert set(from_format_1(old)) == names
    full = old | {"opt_state/1/inner_states/process/inner_state/1/mean/process/mean": np.array(5, np.float32)}
    counters = {f"opt_state/1/process/{name}" for name in ("0", "1/count", "3/count", "1/mean/process/mean")}
    assert set(from_format_1(full)) == names | counters


def test_newer_format(three, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(three, directory)
    path = directory / "30" / "meta" / "metadata"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(UserError, match="written by a newer exflow"):
        Checkpoints(directory).restore(state_at(0))


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", fail)
    with pytest.raises(UserError, match="could not be written .*No space left on device.*Free disk space"):
        checkpoints.save(state_at(10), {})


def test_a_structure_is_described_and_built_again():
    tree = {"flow": ((), {"kernel": np.zeros((3, 4), np.float32)}), "count": np.int32(0), "empty": np.zeros((0, 2))}
    description = {"flow": [[], {"kernel": "float32[3,4]"}], "count": "int32[]", "empty": "float64[0,2]"}
    assert described(tree) == description
    like = from_description(description)
    assert jax.tree.structure(like) == jax.tree.structure(tree)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), like
    )
    for other in ([np.zeros(1)], {"a": None}, {"a": state_at(0)}, {"a": ({"b": [1]},)}):
        assert described(other) is None  # a list would come back as a tuple
    with pytest.raises(ValueError, match=r"expected an array such as float32\[3,4\], got 'float32'"):
        from_description({"a": "float32"})
