"""What all tables of the README are made of: runs by config, means over seeds, budgets, Markdown."""

import json
import statistics
from collections import defaultdict

from exflow.config import load_config
from experiments.collect import RESULTS

Runs = list[dict]
DATA_KEYS = ("dataset", "options", "split", "image_size", "downscale")


def load() -> dict[str, Runs]:
    """Runs by name of their config, with its variant behind a colon, and their data where they are not its own."""
    groups: dict[str, Runs] = defaultdict(list)
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text())
        if "config" in content and "experiment" not in content:  # a training run
            groups[title(content["config"])].append(content)
    return groups


def title(config: dict) -> str:
    """What a row of a table is called: only runs of equal titles are averaged."""
    name = config["name"] + (f":{config['variant']}" if config["variant"] else "")
    own, used = load_config(name).data, config["data"]
    if all(own[key] == used.get(key, own[key]) for key in DATA_KEYS):
        return name
    return f"{name} on {used['dataset']}, {used['split']}"


def values(runs: Runs, metric: str) -> list[float]:
    """The metric of every run that has it."""
    return [run["results"][metric]["value"] for run in runs if metric in run["results"]]


def image_size(runs: Runs) -> str:
    """Height x width that the model sees."""
    data = runs[0]["config"]["data"]
    size = data["image_size"] // data["downscale"]
    return f"{size}x{size}"


def budget(runs: Runs) -> str:
    """Mean training time of a run."""
    if runs[0]["hardware"]["platform"] == "cpu":
        return f"{statistics.mean(run['training_cpu_seconds'] for run in runs) / 60:.0f} core-minutes"
    minutes = statistics.mean(run["training_seconds"] for run in runs) / 60
    return f"{minutes:.0f} minutes on {runs[0]['hardware']['device']}"


def spread(numbers: list[float], digits: int) -> str:
    """Mean and standard deviation over seeds."""
    if not numbers:
        return ""
    mean = f"{statistics.mean(numbers):.{digits}f}"
    return mean + (f" ± {statistics.stdev(numbers):.{digits}f}" if len(numbers) > 1 else "")


def digits_of(metric: str) -> int:
    """Decimals to print."""
    return 3 if metric.endswith("dim") else 1


def markdown(lines: list[list[str]]) -> str:
    """A table; the first line is its header."""
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def load_experiments(experiment: str) -> list[dict]:
    """Reports of an experiment, as `python -m experiments` writes them."""
    contents = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    return [content for content in contents if content.get("experiment") == experiment]
