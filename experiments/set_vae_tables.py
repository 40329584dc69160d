"""The README's tables of set VAEs, and of all families beside each other."""

import json
import re
import textwrap

from exflow.config import from_json
from exflow.evaluation.published import numbers as published_numbers
from experiments.comparison import SETTINGS
from experiments.published_set_vae import NLL_DRAWS, published_model
from experiments.published_set_vae import bounds as published_bounds
from experiments.table_parts import Runs, budget, load_experiments, markdown, spread, title, values

PUBLISHED_ACCURACY = {  # by divergence of posteriors: row of the data file
    "Neural Statistician, published": "statistician omniglot",
    "its replication by others": "statistician replication omniglot",
}


def set_vae_table(groups: dict[str, Runs]) -> str:
    """Set VAEs on Omniglot: bounds for sets of five beside the published ones, few-shot accuracy by divergence."""
    header = ["run", "parameters", "training", "bound of 1 draw", "published", "bound of 1,000 draws", "published"]
    lines = [[*header, "nested bound", *_accuracy_names()]]
    bounds, accuracies = _bounds(), _accuracies()
    entries: dict[str, list[dict]] = {"test_nll": [], "nll/5": [], "nested_nll/5": [], "accuracy/kl": []}
    for name, runs in sorted(groups.items()):
        config = runs[0]["config"]
        if config["model"]["family"] != "set_vae" or config["data"]["dataset"] != "omniglot_ns":
            continue
        model, bound = published_model(from_json(json.dumps(config))), bounds.get(name, {})
        known = published_bounds(model, "omniglot_ns", "omniglot_ns")
        published = known.get("nelbo/5"), known.get("nll/5")
        row = [f"`{name}`", f"{runs[0]['num_parameters']:,}", budget(runs), spread(values(runs, "test_nll"), 1)]
        row += [_number(published[0]), _value(bound, "nll/5"), _number(published[1]), _value(bound, "nested_nll/5")]
        accuracy = [accuracies.get((name, *setting), {}) for setting in SETTINGS]
        lines.append(row + [_value(one, "accuracy/kl") for one in accuracy])
        for kind, found in entries.items():
            sources = [run["results"] for run in runs] + [bound, *accuracy]
            found += [results[kind] for results in sources if kind in results]
    for source, row in PUBLISHED_ACCURACY.items():
        numbers = published_numbers("set_vae", row)
        lines.append([source, *7 * [""], *(str(numbers[f"few_shot/{way}way_{shot}shot"]) for way, shot in SETTINGS)])
    single, many, nested, accuracy = entries.values()
    sets, fewer, draws = (
        _told(rf"(\d+) {what}", found)
        for what, found in (("sets", single), (r"\S+ test sets", many), ("draws of the support", accuracy))
    )
    outer, inner = _told(r"(\d+) x", nested), _told(r"x (\d+)", nested)
    about = f"""Nats per image of test characters in {sets} sets of five, {fewer} of them for bounds of 1,000 draws
(nested: {outer} draws of the latent of the set with {inner} of each image). Standard errors over sets are
{_range(single, "standard_error")} and {_range(many, "standard_error")}. Accuracies are means of {draws} draws of
classes and support, 95 % intervals {_range(accuracy, "ci95")}. Published: project page of Giannone & Winther 2022, on
another version of the pictures (grey ones of Burda et al.) and another draw of the characters, so that a difference of
a nat says little; accuracies of Edwards & Storkey 2017 and GitHub ashysheya/neural-stat, 1,200 training characters."""
    return f"{markdown(lines)}\n\n{_paragraph(about)}\n"


def comparison_table() -> str:
    """Models of all families on the same test sets."""
    lines = [["model", "parameters", "scored", "nats/image", "bits/dim", *_accuracy_names(), "samples/s"]]
    machine = notes = ""
    for content in load_experiments("comparison"):
        for name, facts in content["models"].items():
            found = {key.removeprefix(f"{name}/"): one for key, one in content["results"].items()}
            row = [f"`{name}`", f"{facts['num_parameters']:,}", facts["scores"]]
            row += [_value(found, "test_nll"), _value(found, "test_bits_per_dim", 3)]
            row += [_value(found, f"few_shot/{way}way_{shot}shot") for way, shot in SETTINGS]
            lines.append([*row, _value(found, "samples_per_second", 0)])
        machine = f" (on {content['hardware']['cpu_cores']} cores of {content['hardware']['cpu']})"
        notes += f" On the measurement: {content['note']}." if "note" in content else ""
    about = f"""The same test characters, unseen by all. Accuracies and speeds{machine} can be compared in every row;
objectives, with few-shot terms or without, and training times differ, see the tables above. Likelihoods can be compared
only where the same is scored in images of one size: BRUNO's density of gray levels with dequantization noise is exact,
the bounds of set VAEs are on the probability of binarised pixels.{notes}"""
    return f"{markdown(lines)}\n\n{_paragraph(about)}\n"


def _told(pattern: str, entries: list[dict]) -> str:
    """The numbers that a pattern finds in the protocols of entries."""
    numbers = {int(found[1]) for one in entries if (found := re.search(pattern, one["protocol"]))}
    return " or ".join(f"{number:,}" for number in sorted(numbers))


def _range(entries: list[dict], uncertainty: str) -> str:
    """The smallest and the largest uncertainty of entries, to one decimal."""
    ends = [f"{end([one[uncertainty] for one in entries]):.1f}" for end in (min, max)]
    return " to ".join(dict.fromkeys(ends))


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _accuracy_names() -> list[str]:
    return [f"{way}-way {shot}-shot %" for way, shot in SETTINGS]


def _bounds() -> dict[str, dict]:
    """Results of `python -m experiments marginal` with 1,000 draws, by name of the config."""
    reports = load_experiments("marginal")
    return {title(one["config"]): one["results"] for one in reports if one["options"]["samples"] == NLL_DRAWS}


def _accuracies() -> dict[tuple[str, int, int], dict]:
    """Results of `python -m experiments classification` on the model's own data, by config, way and shot."""
    found = {}
    for content in load_experiments("classification"):
        options = content["options"]
        if options["dataset"] is None and options["split"] == "test":
            found[title(content["config"]), options["way"], options["shot"]] = content["results"]
    return found


def _number(value: float | None) -> str:
    return "" if value is None else f"{value}"


def _value(results: dict, entry: str, digits: int = 1) -> str:
    return f"{results[entry]['value']:.{digits}f}" if entry in results else ""
