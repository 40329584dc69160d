"""The benchmarks: that their variants compute the same thing, and that all of them run."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_trees_all_close

from benchmarks import bench_convolution, bench_few_shot, bench_process, bench_train_step, timing
from benchmarks.__main__ import NAMES
from benchmarks.cases import TINY, configuration, random_batch, random_image_sets
from benchmarks.reference import original
from benchmarks.report import Result, format_table
from exflow.model import sets_of
from exflow.training.sharding import make_mesh

FEW_SHOT_MODEL = {"model.bruno.scales": 0, "model.bruno.dense_units": 4, "model.bruno.dense_couplings": 1}


@pytest.mark.parametrize("process", bench_process.PROCESSES)
def test_forms_of_the_process_agree(process, x64):
    params, z_set = bench_process.inputs(process, num_sets=2, set_size=7, dim=3)
    params, z_set = jax.tree.map(lambda leaf: leaf.astype(np.float64), (params, z_set))
    forms = bench_process.forms(bench_process.PROCESSES[process])
    values = jax.jit(lambda: {name: form(params, z_set) for name, form in forms.items()})()
    np.testing.assert_allclose(values["dense"], values["parallel"], rtol=1e-11)
    np.testing.assert_allclose(values["scan"], values["parallel"], rtol=1e-11)


def test_forward_pass_scores_like_cached_latents():
    model, params = bench_few_shot.with_params(configuration("bruno_omniglot:cpu", FEW_SHOT_MODEL))
    images = jnp.asarray(random_batch(num_sets=3, set_size=3, image_shape=model.image_shape).x_set)
    key = jax.random.key(0)
    found = bench_few_shot.score_by_forward_pass(model)(params, key, images)

    @jax.jit
    def from_latents(params):
        latents = model.encode(params, key, images)
        support, queries = (jax.tree.map(lambda leaf, part=part: leaf[:, part], latents) for part in (slice(-1), -1))
        states = sets_of(model).update(params, sets_of(model).init_state(params, (3,)), support)
        return jnp.diagonal(
            sets_of(model).class_log_probs(params, states, queries)
        )  # every row has its own copy of the query

    np.testing.assert_allclose(found, from_latents(params), rtol=1e-5)


def test_default_protocol_needs_200_times_fewer_image_passes():
    protocol = bench_few_shot.Protocol()
    passes = sum(protocol.num_episodes * way * (shot + 1) for way, shot in protocol.settings)
    assert (passes, protocol.num_latents) == (33_840 * 200, 33_840)


@pytest.mark.slow
def test_plain_and_exflow_training_steps_agree():
    overrides = TINY | {"model.bruno.residual_blocks": 1, "optimizer.warmup_steps": 0, "optimizer.learning_rate": 0.1}
    variants, _ = bench_train_step.steps("bruno_omniglot:cpu", overrides, make_mesh(jax.devices()[:2]))
    start = jax.device_get(variants["plain"].state[0])
    losses = {name: step() for name, step in variants.items()}
    plain = variants["plain"].state[0]
    moved = jax.tree.map(lambda new, old: np.abs(new - old).max(), plain["flow"], start["flow"])
    assert max(jax.tree.leaves(moved)) > 0.05
    for name in ("exflow", "exflow on 1 device"):
        np.testing.assert_allclose(losses[name], losses["plain"], rtol=1e-5)
        assert_trees_all_close(variants[name].state.params, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("seconds", "choice"),
    [
        ({"plain": 1.14, "matmul": 9.0, "forward": 1.0}, "plain"),  # noise is no reason
        ({"plain": 1.15, "matmul": 9.0, "forward": 1.0}, "forward"),
        ({"plain": 1.15, "matmul": 0.9, "forward": 1.0}, "matmul"),
        ({"plain": 0.5, "matmul": 0.9, "forward": 1.0}, "plain"),
    ],
)
def test_a_measurement_takes_another_gradient_only_where_it_is_clearly_faster(seconds, choice):
    timings = {name: timing.Timing((99.0, value, 0.1)) for name, value in seconds.items()}
    assert bench_convolution.measured_choice(timings, "plain", margin=1.15) == choice


@pytest.mark.parametrize("stride", [1, 2])
def test_the_measured_gradients_of_a_kernel_agree(x64, stride):
    rng = np.random.default_rng(0)
    x, kernel, dy = rng.normal(size=(2, 5, 5, 3)), rng.normal(size=(3, 3, 3, 2)), rng.normal(size=(2, 6, 6, 2))
    dy = dy[:, : -(-5 // stride), : -(-5 // stride)]
    found = {name: bench_convolution.of_kernel(name, stride)(x, kernel, dy) for name in bench_convolution.GRADIENTS}
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::stride, ::stride]
    expected = np.einsum("nhwcij,nhwo->ijco", windows, dy)
    for actual in found.values():
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_only_gradients_that_loops_compute_fast_are_taken_where_there_may_be_one():
    layers = bench_convolution.LAYERS.values()
    assert all(layer.auto in layer.choices for layer in layers)
    assert {"plain" in layer.choices for layer in layers if layer.may_loop} == {False}
    assert bench_convolution.Convolution(50, 7, 256, 128, stride=2).gflop == 2 * 9 * 256 * 128 * 4**2 * 50 / 1e9


def test_a_clock_of_the_caller_is_what_counts():
    ticks = iter(range(100))
    assert timing.interleaved({"a": int}, quick=True, clock=lambda: next(ticks))["a"].samples == (2.0,)


def test_variants_take_turns():
    calls = []
    timings = timing.interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, quick=True)
    assert calls == ["a", "b", "a", "b"]  # one call each to compile, then one round
    assert {name: len(timing.samples) for name, timing in timings.items()} == {"a": 1, "b": 1}


def test_ratio_is_the_median_within_rounds():
    slow, fast = timing.Timing((2.0, 30.0, 8.0)), timing.Timing((1.0, 10.0, 2.0))
    assert timing.ratio(slow, fast) == 3.0
    assert slow.median == 8.0


def test_table_has_ratios_first_and_leaves_missing_cells_empty():
    result = Result({}, {"first": {"ms": 12345.6}, "second": {"s": 0.12345}}, {"second": {"ratio": 2.0}})
    assert format_table(result) == "        ratio      ms      s\nfirst          12,346\nsecond      2          0.123"


def test_environment_says_what_the_numbers_depend_on():
    found = timing.environment()
    assert found["packages"]["jax"] == jax.__version__
    assert found["num_devices"] == jax.local_device_count()
    json.dumps(found)


def test_random_image_sets_have_the_shapes_of_a_data_set():
    image_sets = random_image_sets(num_classes=3, per_class=4, size=6)
    assert image_sets.images.shape == (12, 6, 6, 1)
    np.testing.assert_array_equal(image_sets.index, np.arange(12).reshape(3, 4))


@pytest.mark.slow
def test_all_benchmarks_run_quickly_and_write_one_line_each(repository, tmp_path):
    out = tmp_path / "benchmarks.jsonl"
    command = [sys.executable, "-m", "benchmarks", "--quick", f"--out={out}"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = {line["benchmark"]: line for line in map(json.loads, out.read_text().splitlines())}
    assert sorted(lines) == NAMES
    summary = done.stdout.partition("\nAll benchmarks (quick")[2]
    assert all(f"\n{name} " in summary for name in NAMES if name != "reference")
    assert "\nAgainst references\n" in summary
    for name, line in lines.items():
        assert line["quick"]
        assert f"{name} (quick)" in done.stdout
        assert line["environment"]["backend"] == "cpu"
        values = [value for part in ("medians", "ratios") for row in line[part].values() for value in row.values()]
        assert line["settings"]
        assert values
        assert np.isfinite(values).all()
    assert lines["few_shot"]["ratios"]["whole protocol"]["fewer passes"] >= 20


def test_unknown_benchmark_is_refused(repository):
    command = [sys.executable, "-m", "benchmarks", "--only", "nothing"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 2
    assert "invalid choice: 'nothing'" in done.stderr


def test_original_is_timed_by_what_it_prints(tmp_path):
    (tmp_path / "train.py").write_text("for seconds in (9, 1, 3, 2): print(f'step: {seconds}.0 s')")
    found = original.run(f"{sys.executable} -S train.py", tmp_path, "step: ([0-9.]+) s")
    assert found["seconds"] == 2.0  # median without the first
    assert 0 < found["peak_gb"] < 10
    with pytest.raises(ValueError, match="got 0 and exit code 0"):
        original.run(f"{sys.executable} -S train.py", tmp_path, "minutes: ([0-9.]+)")
