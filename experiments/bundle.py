"""Make a trained model one that comes with exflow, and evaluate the files that ship.

    python -m experiments.bundle runs/bruno_omniglot-bundled bruno_omniglot

writes `exflow/bundled/<name>.npz` and `.json`, loads them again, and writes their evaluation, of parameters in half
precision, to `exflow/bundled/<name>.results.json` and `experiments/results/<name>_bundled.json`. Then
`exflow.load("<name>")` works anywhere.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from exflow import evaluation, loading
from exflow.errors import UserError
from exflow.program import as_program, reported
from exflow.training import configure_devices
from exflow.training.inputs import load_data
from exflow.training.parameters import load_params
from experiments.collect import RESULTS, command_of

MAX_BYTES = 8 * 2**20


def bundle(workdir: Path, name: str, note: str = "") -> Path:
    """Export, check the size, evaluate what was written.

    Args:
      workdir: Working directory of a run.
      name: What `exflow.load` will call the model.
      note: What the configuration does not tell about its training; stands in the results.

    Returns:
      The file with the results.

    Raises:
      UserError: The run cannot be read, or is too large to ship.
    """
    trained = loading.from_workdir(workdir)
    configure_devices(trained.config)
    path = loading.export_bundled(trained, name)
    if path.stat().st_size > MAX_BYTES:
        size = path.stat().st_size / 2**20
        path.unlink()
        raise UserError(
            f"{name}: {size:.1f} MiB do not ship, the limit is {MAX_BYTES / 2**20:.0f}. Train a smaller one."
        )
    shipped = loading.find(name)
    config = shipped.config
    _, meta = load_params(trained.config, workdir, trained.model)
    info = {"training_seconds": meta["wall_seconds"], "training_cpu_seconds": meta["cpu_seconds"], "bundled": name}
    info |= {"note": note} if note else {}
    with tempfile.TemporaryDirectory() as scratch:
        step = shipped.info["step"]
        image_sets = load_data(config)
        evaluation.evaluate(config, Path(scratch), shipped.model, shipped.params, step, image_sets, info=info)
        results = json.loads((Path(scratch) / "results.json").read_text())
        shutil.copytree(Path(scratch) / "samples", workdir / "bundled_samples", dirs_exist_ok=True)
    content = json.dumps({"command": command_of(results["config"]), **results}, indent=1) + "\n"
    (RESULTS / f"{name}_bundled.json").write_text(content)
    target = path.with_name(f"{name}.results.json")
    target.write_text(content)
    return target


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("workdir", type=Path, help="working directory of a finished run")
    parser.add_argument("name", help="what exflow.load will call it")
    parser.add_argument("--note", default="", help="what the configuration does not tell about the training")
    flags = parser.parse_args()
    with reported():
        print(bundle(flags.workdir, flags.name, flags.note))


if __name__ == "__main__":
    as_program(main)
