"""Copy what a run produced into `experiments/results`.

    python -m experiments.collect runs/bruno_omniglot-cpu bruno_omniglot_cpu_seed0

writes `bruno_omniglot_cpu_seed0.json` (the run's `results.json` with the command that made it) and, with
`--figure NAME`, one of its pictures. `--note` is kept in the file: what the configuration does not tell of the run.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from exflow.config import from_json, load_config
from exflow.config.flat import flatten

RESULTS = Path(__file__).parent / "results"


def command_of(config: dict) -> str:
    """The command that trains and evaluates this configuration: its config, variant and whatever else was set."""
    name = config["name"] + (f":{config['variant']}" if config["variant"] else "")
    path = f"configs/{config['name']}.py" + name.removeprefix(config["name"])
    default, given = flatten(load_config(name)), flatten(from_json(json.dumps(config)))
    changed = {key: value for key, value in given.items() if key in default and default[key] != value}
    overrides = "".join(f" --config.{key}={str(value).replace(' ', '')}" for key, value in sorted(changed.items()))
    mode = " --mode=finetune" if config["training"]["init_from"] else ""
    return f"python -m exflow.main --config={path}{mode}{overrides}"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("name")
    parser.add_argument("--note", help="such as what else used the hardware")
    parser.add_argument("--figure", help="a file of the run's samples/ to keep, such as test_samples.png")
    flags = parser.parse_args()
    path = flags.workdir / "results.json"
    if not path.is_file():
        sys.exit(f"error: {path} does not exist. Evaluate the run first: --mode=evaluate --workdir={flags.workdir}")
    content = json.loads(path.read_text())
    content = {"command": command_of(content["config"]), **({"note": flags.note} if flags.note else {}), **content}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{flags.name}.json").write_text(json.dumps(content, indent=1) + "\n")
    if flags.figure:
        shutil.copy(flags.workdir / "samples" / flags.figure, RESULTS / f"{flags.name}.png")


if __name__ == "__main__":
    main()
