"""What a user installs: a quick import, and a wheel that runs outside the checkout."""

import subprocess
import sys
import zipfile

import pytest

from exflow.evaluation.published import FOLDER

SLOW_PACKAGES = ("tensorflow", "tensorflow_datasets", "matplotlib", "PIL", "orbax", "flax")


def python(code: str, **options) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **options)
    return done.stdout.strip()


def test_import_exflow_loads_nothing_slow_and_takes_less_than_a_second_more_than_jax(repository):
    code = (
        "import sys, time, jax; start = time.perf_counter(); import exflow; print(time.perf_counter() - start);"
        f"print(sorted(set({SLOW_PACKAGES}) & set(sys.modules)))"
    )
    seconds, loaded = python(code, cwd=repository).splitlines()
    assert loaded == "[]"
    assert float(seconds) < 1


def test_command_line_and_api_leave_tensorflow_and_matplotlib_unloaded(repository):
    modules = "sys, exflow.api, exflow.main, exflow.modes"
    code = f"import {modules}; print({{'tensorflow', 'matplotlib'}} & set(sys.modules))"
    assert python(code, cwd=repository) == "set()"


def test_load_is_found_on_first_use():
    import exflow
    from exflow import api

    assert exflow.load is api.load
    assert "load" in dir(exflow)
    with pytest.raises(AttributeError, match="module 'exflow' has no attribute 'lod'"):
        exflow.lod  # noqa: B018


@pytest.mark.slow
def test_wheel_builds_and_runs_outside_the_checkout(repository, tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(repository)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("exflow-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    bundled = {f"exflow/bundled/bruno_omniglot{ending}" for ending in (".npz", ".json", ".results.json")}
    published = {f"exflow/evaluation/published/{path.name}" for path in FOLDER.glob("*.json")}
    assert published
    assert {"exflow/_configs/bruno_glyphs.py", "exflow/main.py"} | bundled | published <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"exflow"}
    assert not [name for name in names if "__pycache__" in name]
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    where = python(
        f"import sys; sys.path.insert(0, {str(site)!r}); import exflow; print(exflow.__file__)", cwd=tmp_path
    )
    assert where.startswith(str(site))
    run = f"import sys; sys.path.insert(0, {str(site)!r}); from exflow.main import main; main()"
    command = [sys.executable, "-c", run, "--config=configs/bruno_glyphs.py:smoke"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=600)
    assert (tmp_path / "runs" / "bruno_glyphs-smoke" / "results.json").is_file()
