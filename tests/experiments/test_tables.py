"""The tables of the README: which runs are averaged, and that they hold what the files say."""

import json
import shutil

from benchmarks import lines
from benchmarks.measured import Measured
from exflow.config import load_config
from experiments import set_vae_tables, speed_tables, table, table_parts


def test_runs_on_other_data_are_not_averaged_with_a_configs_own():
    config = json.loads(load_config("bruno_omniglot:cpu").to_json())
    assert table_parts.title(config) == "bruno_omniglot:cpu"
    config["training"]["seed"] = 3
    assert table_parts.title(config) == "bruno_omniglot:cpu"
    config["data"]["dataset"], config["data"]["split"] = "omniglot_ns", "standard"
    assert table_parts.title(config) == "bruno_omniglot:cpu on omniglot_ns, standard"


def test_what_is_said_of_a_table_comes_from_the_entries():
    entries = [
        {"protocol": "bound; 1692 sets of 5 test images, 1 draw", "standard_error": 0.74},
        {"protocol": "bound; 300 sets of 5 test images, 1 draw", "standard_error": 1.58},
    ]
    assert set_vae_tables._told(r"(\d+) sets", entries) == "300 or 1,692"
    assert set_vae_tables._range(entries, "standard_error") == "0.7 to 1.6"
    assert set_vae_tables._range(entries[:1], "standard_error") == "0.7"


def test_the_readme_holds_what_the_files_say():
    text = table.README.read_text()
    assert table.updated(text) == text


def reference_line(seconds, **environment):
    """Of bench_reference: PyTorch takes two seconds."""
    medians = {"scha": {"exflow s": seconds, "reference s": 2.0}, "machine": {"product GFLOP/s": 200.0}}
    ratios = {"scha": {"reference / exflow": Measured(2 / seconds, 1.8 / seconds, 2.5 / seconds)}}
    known = {"backend": "cpu", "cores": 2, "cpu_model": "Alpha", "packages": {"jax": "1.0"}, "commit": "0123456789"}
    return lines.Line("reference", False, {}, medians, ratios, known | environment)


def test_speed_names_machines_and_what_is_slower(tmp_path):
    assert speed_tables.WITHOUT in speed_tables.speed_section(tmp_path)
    first, second = tmp_path / "benchmarks_reference_alpha.jsonl", tmp_path / "benchmarks_reference_beta.jsonl"
    lines.append(first, reference_line(1.0)._replace(quick=True))
    assert speed_tables.WITHOUT in speed_tables.speed_section(tmp_path)
    lines.append(first, reference_line(9.0))
    lines.append(first, reference_line(4.0, date="2026-11-29T12:00:00+00:00", load_average=1.25))
    lines.append(second, reference_line(1.0, cpu_model="Beta", commit="9876543210-dirty", xla_flags="--slow"))
    text = speed_tables.speed_section(tmp_path)
    assert speed_tables.WITHOUT not in text
    assert "2 cores of Alpha, JAX 1.0, commit 01234567, 2026-11-29, load 1.25)" in text
    assert "2 cores of Beta, JAX 1.0, `XLA_FLAGS=--slow`, commit 98765432 with changed files)" in text
    assert "| scha | PyTorch | 0.5 (0.45 to 0.625) |" in text
    assert "scha: exflow takes 2 (1.6 to 2.22) times the time of PyTorch." in text
    assert "Nothing takes more than its reference." in text  # on the second machine
    assert text.count("**Against PyTorch**") == 2


def test_speed_within_exflow_comes_from_the_committed_files(tmp_path):
    shutil.copy(table_parts.RESULTS / "benchmarks_cpu.jsonl", tmp_path)
    text = speed_tables.speed_section(tmp_path)
    for told in (  # as 2 cores measured it first
        "149 times faster than one forward pass per episode, 200 times fewer image passes | a |",
        "| 1,774 times faster, gradient 766 times faster |",
        "| 3.39 times, for 0.83 of the time |",
        "| 0.956, gradient 0.66 |",
        "| 5.81 times as long, gradient 6.59 |",
        "| training, images/s | 458 | 457 | 461 |",
    ):
        assert told in text
    alone = lines.read(tmp_path / "benchmarks_cpu.jsonl")[:1]
    (tmp_path / "benchmarks_cpu.jsonl").unlink()
    lines.append(tmp_path / "benchmarks_new.jsonl", alone[0]._replace(medians={}))  # holds nothing that a row needs
    assert "Within exflow" not in speed_tables.speed_section(tmp_path)


def test_speed_of_large_sets_and_files(tmp_path):
    any_line = lines.read(table_parts.RESULTS / "benchmarks_cpu.jsonl")[0]
    path = tmp_path / "benchmarks_new.jsonl"
    nanoseconds = {"recurrence": (2, 3), "prefix sums": (4, 4), "streamed": (1, 2)}
    growth = {
        f"gaussian, {size}, {form}": {"ns": float(values[large])}
        for form, values in nanoseconds.items()
        for large, sizes in enumerate((("1,000 x 8", "20 x 1,000"), ("1,000,000 x 8", "20 x 100,000")))
        for size in sizes
    }
    classes = {"1,000-way 50-shot, 1,000 queries": {"s": 9.0, "CPU s": 8.0, "peak MB": 500.0, "support MB": 9.8}}
    files = {
        f"32 sets of 20, {kind}, 1024 MB": {"growth / growth of the data": value}
        for kind, value in (("mapped", 0.02), ("in memory", 1.02))
    }
    api = {
        "first answer": {"cold ms": 6000.0, "cold CPU ms": 7000.0, "cached ms": 2000.0},
        **{row: {"call ms": 3.0} for row in ("update, 1 image", "log_prob, 6 images", "anomaly_scores, 6 images")},
        "classify, 5 classes of 5, 5 queries": {"call ms": 20.0},
        **{f"{what}, 10,000 images": {"call ms": 9000.0} for what in ("log_prob", "sample")},
    }
    found = (("growth", growth, {}), ("classify", classes, {}), ("stream", {}, files), ("api", api, {}))
    for name, medians, ratios in found:
        lines.append(path, any_line._replace(benchmark=name, medians=medians, ratios=ratios))
    text = speed_tables.speed_section(tmp_path)
    assert text.count("| prefix sums 1, recurrence 1.5, streamed 2 |") == 2
    assert "| 8 s of CPU time, 500 MB more at the peak (the images: 9.8 MB) |" in text
    assert "| 0.02 MB, read into memory 1.02 MB |" in text
    assert "| 6 s, 7 s of CPU time; then 2 s |" in text
    assert "an update 3 ms, the densities of 6 3 ms" in text
    assert "10,000 densities 9 s, 10,000 samples 9 s |" in text
