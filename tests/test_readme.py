"""What the documentation shows must run: its bijector and its Python example; its picture names files that exist."""

import re
import runpy
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def code_blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


def test_bijector_of_the_documentation_is_one(repository, x64):
    (block,) = code_blocks(repository / "docs" / "bijector.md")
    namespace = {}
    exec(block, namespace)
    bijector = namespace["elementwise_affine"]()
    x = jax.random.normal(jax.random.key(0), (2, 3), jnp.float64)
    params = {"log_scale": jnp.asarray([0.1, -0.2, 0.3]), "shift": jnp.asarray([1.0, 2.0, 3.0])}
    z, log_det = bijector.forward(params, x)
    restored, inverse_log_det = bijector.inverse(params, z)
    np.testing.assert_allclose(restored, x, atol=1e-12)
    np.testing.assert_allclose(log_det, 0.2, rtol=1e-12)
    np.testing.assert_allclose(inverse_log_det, -log_det, rtol=1e-12)


@pytest.mark.slow
def test_python_example_of_the_readme_runs(repository, tmp_path):
    block = next(block for block in code_blocks(repository / "README.md") if "exflow.load" in block)
    assert len([line for line in block.splitlines() if line]) <= 25
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "accuracy:" in done.stdout


def test_the_picture_of_the_design_names_files_that_exist(repository, tmp_path):
    picture = runpy.run_path(str(repository / "docs" / "draw_design.py"))
    picture["check"]()
    picture["draw"](tmp_path / "design.png")
    assert (tmp_path / "design.png").stat().st_size > 10_000
