"""Write the README's tables of results from the files in `experiments/results`: `python -m experiments.table`.

Runs that differ in their seed alone form one row, with mean and standard deviation over seeds. `--check` changes
nothing and fails if the README does not hold what the files say.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from exflow.evaluation import published
from experiments import ablations
from experiments.set_vae_tables import comparison_table, set_vae_table
from experiments.speed_tables import speed_section
from experiments.table_parts import (
    Runs,
    budget,
    digits_of,
    image_size,
    load,
    load_experiments,
    markdown,
    spread,
    values,
)
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
PUBLISHED_ROWS = (  # name, row of the data file, seeds
    ("BRUNO, published", "omniglot generative", "2"),
    ("BRUNO fine-tuned, published", "omniglot fine-tuned", "2"),
    ("prototypical networks, published, no likelihood", "omniglot prototypical networks", ""),
)
GIVEN_VIEWS = (0, 1, 2, 4, 8)


def few_shot_table(groups: dict[str, Runs]) -> str:
    """One row per experiment: name, image size, seeds, training time, then the columns."""
    lines = [["run", "images", "seeds", "training", *COLUMNS.values()]]
    for name, runs in sorted(groups.items()):
        if runs[0]["config"]["data"]["dataset"] in FEW_SHOT_DATA:
            row = [f"`{name}`", image_size(runs), str(len(runs)), budget(runs)]
            lines.append(row + [spread(values(runs, metric), digits_of(metric)) for metric in COLUMNS])
    for name, row, seeds in PUBLISHED_ROWS:
        found = published.numbers("bruno", row)
        density = published.numbers("bruno", "omniglot conv gaussian") if row == "omniglot generative" else {}
        known = {**found, **density}
        cells = [f"{known[metric]:.{digits_of(metric)}f}" if metric in known else "" for metric in COLUMNS]
        lines.append([name, "28x28", seeds, "", *cells])
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

Nats per view of objects that training has not seen, the same views in every column; no number was published. With
`model.bruno.turn_back`, `conditional_bruno:cpu` undoes the rotation of its glyphs exactly before the couplings;
`:cpu_without_turn` has to learn it, and its predicted views do not look right.
"""


def ablations_table() -> str:
    """What the switches beyond the published model are worth."""
    runs = json.loads(ablations.PATH.read_text())["runs"]
    return f"""{ablations.table(runs)}

Validation characters, 14x14 pixels, dense couplings alone, mean ± standard deviation over seeds; differences from the
base are paired by seed (the same batches, episodes and noise). `bound_of_10_draws` changes the evaluation alone.
"""


def robustness_table() -> str:
    """What outliers in training do, by recipe and process."""
    measures = {
        "jump": "at a white image, nats",
        "aftermath": "in ten steps after, nats",
        "recovery": "steps to recover",
        "final_nll": "NLL at the end, nats/image",
        "diverged": "diverged",
    }
    lines = [["recipe", "process", *measures.values()]]
    for report in load_experiments("robustness"):
        found = report["results"]
        for name in dict.fromkeys(key.rsplit("/", 1)[0] for key in found):
            row = [f"{found[f'{name}/{measure}']['value']:.0f}" for measure in measures]
            lines.append([*name.split("/"), *row])
    return f"""{markdown(lines)}

Training loss over the median of the ten steps before; recovered when it is back in their range for three steps (100:
never before the next white image); medians over the nine of a run. One seed, dense couplings alone, 1,000 of the 10,000
steps; diverged: ends above where it began. No numbers were published. Where white images stay improbable, the Gaussian
process is thrown back far more than the Student-t one.
"""


def updated(text: str) -> str:
    """The README with its tables made anew."""
    groups = load()
    tables = {
        "results": few_shot_table(groups),
        "targets": target_table(groups),
        "speed": speed_section(),
        "conditional": conditional_table(groups),
        "set_vae": set_vae_table(groups),
        "comparison": comparison_table(),
        "robustness": robustness_table(),
        "ablations": ablations_table(),
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
