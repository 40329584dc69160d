"""Write the README's tables of results from the files in `experiments/results`: `python -m experiments.table`.

Runs that differ in their seed alone form one row, with mean and standard deviation over seeds. `--check` changes
nothing and fails if the README does not hold what the files say.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from exflow.config import from_json
from experiments.collect import RESULTS
from experiments.published_set_vae import NELBO, NLL, NLL_DRAWS, published_model
from experiments.targets import TARGETS, Target

README = Path(__file__).parent.parent / "README.md"
FEW_SHOT_DATA = ("omniglot", "glyphs")
COLUMNS = {
    "few_shot/5way_1shot": "5-way 1-shot %",
    "few_shot/5way_5shot": "5-way 5-shot %",
    "few_shot/20way_1shot": "20-way 1-shot %",
    "few_shot/20way_5shot": "20-way 5-shot %",
    "few_shot_midpoint/20way_1shot": "20-way 1-shot %, no noise",
    "test_nll": "NLL, nats/image",
    "test_bits_per_dim": "bits/dim",
}
GIVEN_VIEWS = (0, 1, 2, 4, 8)
Runs = list[dict]


def load() -> dict[str, Runs]:
    """Runs by name of their config, with its variant behind a colon."""
    groups: dict[str, Runs] = defaultdict(list)
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text())
        if "config" in content and "experiment" not in content:  # a training run
            config = content["config"]
            groups[config["name"] + (f":{config['variant']}" if config["variant"] else "")].append(content)
    return groups


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


def few_shot_table(groups: dict[str, Runs]) -> str:
    """One row per experiment: name, image size, seeds, training time, then the columns."""
    lines = [["run", "images", "seeds", "training", *COLUMNS.values()]]
    for name, runs in sorted(groups.items()):
        if runs[0]["config"]["data"]["dataset"] in FEW_SHOT_DATA:
            row = [f"`{name}`", image_size(runs), str(len(runs)), budget(runs)]
            lines.append(row + [spread(values(runs, metric), digits_of(metric)) for metric in COLUMNS])
    paper = {
        "BRUNO, published": ("28x28", "2", "", "86.3", "95.6", "69.2", "87.7", "", "537", "0.988"),
        "BRUNO fine-tuned, published": ("28x28", "2", "", "97.1", "99.4", "91.3", "97.8", "", "", ""),
        "prototypical networks, published, no likelihood": (
            "28x28",
            "",
            "",
            "98.8",
            "99.7",
            "96.0",
            "98.9",
            "",
            "",
            "",
        ),
    }
    lines += [[name, *row] for name, row in paper.items()]
    return f"""{markdown(lines)}

Test characters unseen in training (Omniglot: 423 characters of the Vinyals split in 4 rotations, 20 trials of 1,692
episodes; ties and NaN count as errors), one draw of dequantization noise as in the paper, unless the column says
otherwise. `bruno_omniglot_finetune:fast` is the published network trained from scratch with likelihood and few-shot
objective together. ± is the standard deviation over seeds. Likelihoods can be compared within one image size only.
Published: Korshunova et al. 2018; Snell et al. 2017.
"""


def answer(target: Target, groups: dict[str, Runs], names: tuple[str, ...]) -> str:
    """Our numbers for a target, one line per config."""
    found = []
    for name in names:
        runs = groups.get(name, [])
        numbers = values(runs, target.metric)
        if not numbers:
            continue
        verdict = ""
        if names is target.configs:
            verdict = ", accepted" if target.accepts(statistics.mean(numbers)) else ", outside the band"
        seeds = f"{len(numbers)} seed" + ("s" if len(numbers) > 1 else "")
        size = "" if names is target.configs else f", {image_size(runs)}"
        found.append(f"{spread(numbers, digits_of(target.metric))}{verdict} (`{name}`{size}, {seeds}, {budget(runs)})")
    return "; ".join(found)


def target_table(groups: dict[str, Runs]) -> str:
    """Every published number with its band and our answer."""
    lines = [["published experiment", "published", "accept", "aim", "ours at full size", "ours, reduced"]]
    for target in TARGETS:
        sign = "≤" if target.smaller_is_better else "≥"
        full = answer(target, groups, target.configs) or target.missing
        row = [target.title, target.published, f"{sign} {target.accept:g}", f"{sign} {target.aim:g}", full]
        lines.append([*row, answer(target, groups, target.reduced)])
    return f"""{markdown(lines)}

Test split, protocol of the paper: sets of 20 with one draw of dequantization noise; few-shot as above. Two published
numbers are Gaussian / Student-t process. The band is the spread of the published seeds and of small variants of one
recipe; a reduced model (smaller images or networks) answers no band.
"""


def conditional_table(groups: dict[str, Runs]) -> str:
    """Likelihood of unseen views against the number of given ones."""
    header = [f"{number} given" for number in GIVEN_VIEWS]
    lines = [["run", "data", "views", "seeds", "training", *header, "structural similarity, 0 and 8 given"]]
    for name, runs in sorted(groups.items()):
        if "test_nll/given_0" not in runs[0]["results"]:
            continue
        nats = [spread(values(runs, f"test_nll/given_{number}"), 1) for number in GIVEN_VIEWS]
        similarity = " and ".join(spread(values(runs, f"test_ssim/given_{number}"), 2) for number in (0, 8))
        data = runs[0]["config"]["data"]["dataset"]
        lines.append([f"`{name}`", data, image_size(runs), str(len(runs)), budget(runs), *nats, similarity])
    return f"""{markdown(lines)}

Nats per view of objects that training has not seen, the same views in every column; no number was published.
"""


def set_vae_table(groups: dict[str, Runs], bounds: dict[str, dict]) -> str:
    """Set VAEs on images: bounds on the likelihood of sets of five beside the published ones."""
    header = ["run", "parameters", "training", "bound of 1 draw", "published", "bound of 1,000 draws", "published"]
    lines = [[*header, "nested bound"]]
    for name, runs in sorted(groups.items()):
        config = runs[0]["config"]
        if config["model"]["family"] != "set_vae" or config["data"]["dataset"] != "omniglot_ns":
            continue
        model = published_model(from_json(json.dumps(config)))
        nelbo = NELBO["omniglot_ns", "omniglot_ns"].get(model, {}).get(5)
        row = [f"`{name}`", f"{runs[0]['num_parameters']:,}", budget(runs), spread(values(runs, "test_nll"), 1)]
        row += [f"{nelbo}" if nelbo else ""]
        of_1000 = bounds.get(name, {})
        row += [f"{of_1000['nll/5']['value']:.1f}" if "nll/5" in of_1000 else ""]
        row += [f"{NLL['omniglot_ns'][model]}" if model in NLL["omniglot_ns"] else ""]
        lines.append([*row, f"{of_1000['nested_nll/5']['value']:.1f}" if "nested_nll/5" in of_1000 else ""])
    return f"""{markdown(lines)}

Nats per image on 423 test characters in sets of five (bounds of 1,000 draws: 300 of the 1,692 sets; nested: 100 draws
of the latent of the set with 10 of each image). Standard errors over sets are 0.7 and 1.6, far above those over draws.
Published: Giannone & Winther 2022, on another version of the pictures (grey ones of Burda et al.) and another draw of
the characters, so that a difference of a nat says little.
"""


def load_bounds() -> dict[str, dict]:
    """Results of `python -m experiments marginal` with 1,000 draws, by name of the config."""
    found = {}
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text())
        if content.get("experiment") == "marginal" and content["options"]["samples"] == NLL_DRAWS:
            found[f"{content['config']['name']}:{content['config']['variant']}"] = content["results"]
    return found


def updated(text: str) -> str:
    """The README with its tables made anew."""
    groups = load()
    tables = {
        "results": few_shot_table(groups),
        "targets": target_table(groups),
        "conditional": conditional_table(groups),
        "set_vae": set_vae_table(groups, load_bounds()),
    }
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, rest = text.split(begin)
        text = before + begin + table + end + rest.split(end, 1)[1]
    return text


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    flags = parser.parse_args()
    text = README.read_text()
    new = updated(text)
    if flags.check and new != text:
        sys.exit("error: the README's results differ from experiments/results. Run python -m experiments.table")
    if not flags.check:
        README.write_text(new)


if __name__ == "__main__":
    main()
