"""Write the README's table of results from the files in `experiments/results`: `python -m experiments.table`.

Runs that differ in their seed alone form one row, with mean and standard deviation over seeds. `--check` changes
nothing and fails if the README does not hold what the files say.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from experiments.collect import RESULTS

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- results -->\n", "<!-- /results -->"
COLUMNS = {
    "few_shot/5way_1shot": "5-way 1-shot %",
    "few_shot/5way_5shot": "5-way 5-shot %",
    "few_shot/20way_1shot": "20-way 1-shot %",
    "few_shot/20way_5shot": "20-way 5-shot %",
    "few_shot_midpoint/20way_1shot": "20-way 1-shot %, no noise",
    "test_nll": "NLL, nats/image",
    "test_bits_per_dim": "bits/dim",
}


def rows() -> list[list[str]]:
    """One row per experiment: name, image size, seeds, training time, then the columns."""
    groups: dict[str, list[dict]] = defaultdict(list)
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text())
        config = content["config"]
        groups[config["name"] + (f":{config['variant']}" if config["variant"] else "")].append(content)
    table = []
    for name, runs in sorted(groups.items()):
        data = runs[0]["config"]["data"]
        size = data["image_size"] // data["downscale"]
        seconds = statistics.mean(run["training_cpu_seconds"] for run in runs)
        budget = f"{seconds / 60:.0f} core-minutes" if runs[0]["hardware"]["platform"] == "cpu" else "see file"
        row = [f"`{name}`", f"{size}x{size}", str(len(runs)), budget]
        for metric in COLUMNS:
            values = [run["results"][metric]["value"] for run in runs if metric in run["results"]]
            row.append(_spread(values, 3 if metric.endswith("dim") else 1))
        table.append(row)
    return table


def _spread(values: list[float], digits: int) -> str:
    if not values:
        return ""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean + (f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else "")


def published() -> list[list[str]]:
    """Rows of the paper, for the same columns."""
    paper = {
        "BRUNO, published (28x28)": ("28x28", "2", "", "86.3", "95.6", "69.2", "87.7", "", "537", "0.988"),
        "BRUNO fine-tuned, published (28x28)": ("28x28", "2", "", "97.1", "99.4", "91.3", "97.8", "", "", ""),
    }
    return [[name, *values] for name, values in paper.items()]


def markdown() -> str:
    """The table as Markdown."""
    header = ["run", "images", "seeds", "training", *COLUMNS.values()]
    lines = [header, ["---"] * len(header), *rows(), *published()]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"""{text}

Test characters unseen in training (Omniglot: 423 characters of the Vinyals split in 4 rotations, 20 trials of 1,692
episodes; ties and NaN count as errors), one draw of dequantization noise as in the paper, unless the column says
otherwise. ± is the standard deviation over seeds. Likelihoods can be compared within one image size only. Published:
Korshunova et al. 2018.
"""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    flags = parser.parse_args()
    text = README.read_text()
    before, rest = text.split(BEGIN)
    updated = before + BEGIN + markdown() + END + rest.split(END, 1)[1]
    if flags.check and updated != text:
        sys.exit("error: the README's results differ from experiments/results. Run python -m experiments.table")
    if not flags.check:
        README.write_text(updated)


if __name__ == "__main__":
    main()
