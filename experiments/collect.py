"""Copy what a run produced into `experiments/results`.

    python -m experiments.collect runs/bruno_omniglot-cpu bruno_omniglot_cpu_seed0

writes `bruno_omniglot_cpu_seed0.json` (the run's `results.json` with the command that made it) and, with
`--figure NAME`, one of its pictures.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from exflow.config.base import base_config

RESULTS = Path(__file__).parent / "results"


def command_of(config: dict) -> str:
    """The command that trains and evaluates this configuration, as far as its name, variant and seed tell."""
    variant = f":{config['variant']}" if config["variant"] else ""
    seed, default = config["training"]["seed"], base_config().training.seed
    override = f" --config.training.seed={seed}" if seed != default else ""
    return f"python -m exflow.main --config=configs/{config['name']}.py{variant}{override}"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("name")
    parser.add_argument("--figure", help="a file of the run's samples/ to keep, such as test_samples.png")
    flags = parser.parse_args()
    path = flags.workdir / "results.json"
    if not path.is_file():
        sys.exit(f"error: {path} does not exist. Evaluate the run first: --mode=evaluate --workdir={flags.workdir}")
    content = json.loads(path.read_text())
    content = {"command": command_of(content["config"]), **content}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{flags.name}.json").write_text(json.dumps(content, indent=1) + "\n")
    if flags.figure:
        shutil.copy(flags.workdir / "samples" / flags.figure, RESULTS / f"{flags.name}.png")


if __name__ == "__main__":
    main()
