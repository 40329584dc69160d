"""The README's tables of set VAEs, and of all families beside each other."""

import json

from exflow.config import from_json
from experiments.comparison import SETTINGS
from experiments.published_set_vae import NELBO, NLL, NLL_DRAWS, published_model
from experiments.table_parts import Runs, budget, load_experiments, markdown, spread, title, values

PUBLISHED_ACCURACY = {  # by divergence of posteriors, %
    "Neural Statistician, published": (98.1, 99.5, 93.2, 98.1),
    "its replication by others": (95.7, 98.5, 85.6, 95.5),
}


def set_vae_table(groups: dict[str, Runs]) -> str:
    """Set VAEs on Omniglot: bounds for sets of five beside the published ones, few-shot accuracy by divergence."""
    header = ["run", "parameters", "training", "bound of 1 draw", "published", "bound of 1,000 draws", "published"]
    lines = [[*header, "nested bound", *_accuracy_names()]]
    bounds, accuracies = _bounds(), _accuracies()
    for name, runs in sorted(groups.items()):
        config = runs[0]["config"]
        if config["model"]["family"] != "set_vae" or config["data"]["dataset"] != "omniglot_ns":
            continue
        model, bound = published_model(from_json(json.dumps(config))), bounds.get(name, {})
        published = NELBO["omniglot_ns", "omniglot_ns"].get(model, {}).get(5), NLL["omniglot_ns"].get(model)
        row = [f"`{name}`", f"{runs[0]['num_parameters']:,}", budget(runs), spread(values(runs, "test_nll"), 1)]
        row += [_number(published[0]), _value(bound, "nll/5"), _number(published[1]), _value(bound, "nested_nll/5")]
        lines.append(row + [_value(accuracies.get((name, *setting), {}), "accuracy/kl") for setting in SETTINGS])
    for source, numbers in PUBLISHED_ACCURACY.items():
        lines.append([source, *7 * [""], *map(str, numbers)])
    return f"""{markdown(lines)}

Nats per image on 423 test characters in sets of five (bounds of 1,000 draws: 300 of the 1,692 sets; nested: 100 draws
of the latent of the set with 10 of each image). Standard errors over sets are 0.7 and 1.6, far above those over draws.
Accuracies are means of 100 draws of classes and support, 95 % intervals 0.3 to 1.1. Published: Giannone & Winther 2022,
on another version of the pictures (grey ones of Burda et al.) and another draw of the characters, so that a difference
of a nat says little; accuracies of Edwards & Storkey 2017 and GitHub ashysheya/neural-stat, 1,200 training characters.
"""


def comparison_table() -> str:
    """Models of all families on the same test sets."""
    lines = [["model", "parameters", "scored", "nats/image", "bits/dim", *_accuracy_names(), "samples/s"]]
    machine = ""
    for content in load_experiments("comparison"):
        for name, facts in content["models"].items():
            found = {key.removeprefix(f"{name}/"): one for key, one in content["results"].items()}
            row = [f"`{name}`", f"{facts['num_parameters']:,}", facts["scores"]]
            row += [_value(found, "test_nll"), _value(found, "test_bits_per_dim", 3)]
            row += [_value(found, f"few_shot/{way}way_{shot}shot") for way, shot in SETTINGS]
            lines.append([*row, _value(found, "samples_per_second", 0)])
        machine = f" (on {content['hardware']['cpu_cores']} cores of {content['hardware']['cpu']})"
    return f"""{markdown(lines)}

The same test characters, unseen by all. Accuracies and speeds{machine} can be compared in every
row. Likelihoods can be compared only where the same is scored in images of one size: BRUNO's density of gray levels
with dequantization noise is exact, the bounds of set VAEs are on the probability of binarised pixels, and 14x14 pixels
are not 28x28. BRUNO has a few-shot objective, the small SCHA-VAE 14 core-minutes of training. Other programs ran beside
the measurement, so that speeds are rough.
"""


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
