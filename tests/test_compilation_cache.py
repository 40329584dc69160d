"""Where compiled programs are kept: by default a folder of exflow, and nowhere without complaint if that cannot be."""

from pathlib import Path

import jax
import pytest

from exflow.compilation_cache import MIN_SECONDS, enable_compilation_cache

DIRECTORY, ENABLED = "jax_compilation_cache_dir", "jax_enable_compilation_cache"


@pytest.fixture
def without_cache(monkeypatch, tmp_path):
    """A process that has set up no cache; as it was afterwards."""
    before = {name: jax.config.values[name] for name in (DIRECTORY, ENABLED, MIN_SECONDS)}
    for name, value in {DIRECTORY: None, ENABLED: True, MIN_SECONDS: 1.0}.items():
        jax.config.update(name, value)
    monkeypatch.delenv(MIN_SECONDS.upper(), raising=False)
    monkeypatch.setenv("EXFLOW_CACHE_DIR", str(tmp_path))
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.usefixtures("without_cache")
def test_all_programs_are_kept_in_the_folder_of_exflow(tmp_path):
    enable_compilation_cache()
    folder = Path(jax.config.values[DIRECTORY])
    assert folder.parent == tmp_path / "jax"
    assert folder.is_dir()
    assert jax.config.values[MIN_SECONDS] == 0


@pytest.mark.usefixtures("without_cache")
def test_what_the_user_says_stays(tmp_path, monkeypatch):
    jax.config.update(ENABLED, False)  # JAX_ENABLE_COMPILATION_CACHE=0
    enable_compilation_cache()
    assert (jax.config.values[DIRECTORY], jax.config.values[MIN_SECONDS]) == (None, 1.0)
    jax.config.update(ENABLED, True)
    monkeypatch.setenv(MIN_SECONDS.upper(), "1")
    enable_compilation_cache()
    assert jax.config.values[MIN_SECONDS] == 1.0
    jax.config.update(DIRECTORY, str(tmp_path / "own"))
    monkeypatch.delenv(MIN_SECONDS.upper())
    enable_compilation_cache()
    assert (jax.config.values[DIRECTORY], jax.config.values[MIN_SECONDS]) == (str(tmp_path / "own"), 1.0)
    assert list(tmp_path.iterdir()) == [tmp_path / "jax"]


@pytest.mark.usefixtures("without_cache")
def test_nothing_fails_where_nothing_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EXFLOW_CACHE_DIR", str(tmp_path / "file"))
    enable_compilation_cache()
    monkeypatch.delenv("EXFLOW_CACHE_DIR")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    enable_compilation_cache()
    assert jax.config.values[DIRECTORY] is None
