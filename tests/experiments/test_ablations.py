"""The script of the ablations: every switch is a valid configuration, shares what it may, and gets its row."""

import pytest

from experiments import ablations


@pytest.mark.parametrize("switch", ablations.SWITCHES)
def test_every_switch_changes_a_valid_configuration(switch):
    base, config = (ablations.changes(ablations.configuration("cpu", name, 1, 50)) for name in ("base", switch))
    assert config["training.num_steps"] == 50
    assert config["training.seed"] == 1
    assert (config != base) == (switch != "base")


def test_switches_of_the_evaluation_share_the_run_of_the_base(tmp_path):
    names = {switch: ablations.workdir_of(tmp_path, "cpu", switch, 0, 50).name for switch in ablations.SWITCHES}
    shared = {switch for switch, name in names.items() if name == names["base"]}
    assert shared == {"base", "ema_off", "bound_of_10_draws"}
    assert len(set(names.values())) == len(names) - 2


def entry(switch: str, seed: int, nll: float) -> dict:
    metrics = dict.fromkeys(ablations.COLUMNS, 0.5) | {"nll": nll}
    keys = {"variant": "cpu", "steps": 10, "training_cpu_seconds": 60.0}
    return {"switch": switch, "seed": seed, "metrics": metrics, **keys}


def test_table_has_means_and_paired_differences():
    runs = [entry("base", 0, 300.0), entry("base", 1, 310.0), entry("spline", 0, 290.0), entry("spline", 1, 302.0)]
    lines = ablations.table(runs).splitlines()
    assert len(lines) == 4
    assert "| cpu | base | 2 | 10 | 305.0 ± 7.1 |  |" in lines[2]
    assert "| cpu | spline | 2 | 10 | 296.0 ± 8.5 | -9.0 ± 1.4 | 50.0 ± 0.0 |" in lines[3]


def test_finished_runs_are_not_repeated(tmp_path, monkeypatch):
    ran = []

    def run(config, workdir):
        ran.append(workdir.name)
        return {"metrics": dict.fromkeys(ablations.COLUMNS, 0.5), "training_cpu_seconds": 1.0}

    monkeypatch.setattr(ablations, "run", run)
    monkeypatch.setattr(ablations.jax, "clear_caches", lambda: None)  # other tests use their programs again
    out = tmp_path / "ablations.json"
    for seeds in (1, 2):
        ablations.run_all("cpu", ["base", "ema_off"], range(seeds), 50, tmp_path, out)
    assert ran == ["cpu-base-seed0-steps50"] * 2 + ["cpu-base-seed1-steps50"] * 2
    ablations.run_all("cpu_generative", ["generative_only"], range(1), 50, tmp_path, out)
    assert len(ran) == 4  # it trains by likelihood alone as it is
