"""How much the latents of every level tell: KL(posterior || prior) per image, of images (z) and of sets (c), top first.

Level 1 is the top. The divergence of a latent of the set is shared by the images of the set.
"""

import argparse
from pathlib import Path

import numpy as np

from exflow.evaluation.metrics import detection
from experiments import plots
from experiments.latents import draw_sets, open_set_vae, terms_of, unit, usual_size, values_of
from experiments.report import Report, entry
from experiments.subject import add_subject_arguments, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser)
    parser.add_argument("--set_size", type=int, default=0, help="default: that of the model's evaluation")
    parser.add_argument("--sets", type=int, default=200, help="0: all; default: 200")
    parser.add_argument("--draws", type=int, default=1, help="of the latents above a level; default: 1")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Divergences per level as entries and as bars."""
    positive(flags, "draws")
    subject = open_set_vae(flags)
    size = usual_size(subject, flags.set_size)
    values = values_of(subject, draw_sets(subject, flags.split, size, flags.sets), flags.split)
    terms, entries, series = terms_of(subject, values, flags.draws), {}, {"set_size": size}
    how = f"{len(values)} {flags.split} sets of {size}, {'1 draw' if flags.draws == 1 else f'{flags.draws} draws'}"
    path = out / "kl_layers.png"
    with plots.figure(path, columns=2) as panels:
        parts = {"kl_z": terms.kl_examples / size, "kl_c": terms.kl_set / size}
        for axes, (name, levels) in zip(panels, parts.items(), strict=True):
            series[name] = levels.mean(axis=0)
            for level, numbers in enumerate(levels.T, 1):
                title = f"{name}/level_{level}"
                entries[title] = entry(detection.mean_estimate(numbers), unit(subject), f"KL of one level; {how}")
            total = detection.mean_estimate(levels.sum(axis=1))
            entries[f"{name}/total"] = entry(total, unit(subject), f"sum over levels; {how}")
            axes.bar(np.arange(1, levels.shape[1] + 1), series[name], color=plots.GREY)
            plots.count_axis(axes, "level, top first")
            axes.set_ylabel(unit(subject), fontsize=8)
            axes.set_title("latents of images" if name == "kl_z" else "latents of sets", fontsize=9)
    return Report(subject.config, subject.facts, entries, series, [path])
