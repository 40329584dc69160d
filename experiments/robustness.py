"""What outliers in training batches do to a run: is the Student-t process hit less, and does it recover faster?

Reads the metrics of runs of configs/bruno_fashion_outliers.py, whose every 100th batch has a white image in each set:

    python -m experiments robustness --model=runs/outliers-wn --model=runs/outliers-wn_student_t --out=runs/robustness

Per variant and process, medians over the outliers of a run, then means over runs (seeds): the jump of the training NLL
at the outlier and in the ten steps after it, over the median of the ten steps before, and the number of steps until it
is back in the range of those ten for three steps (the distance to the next outlier where it never is). A run has
diverged if a step was not finite, or if it ends above where it began.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from exflow import loading
from exflow.errors import UserError
from exflow.evaluation import results
from exflow.evaluation.analysis.learning_curves import read_metrics, running_mean
from exflow.evaluation.metrics import detection
from experiments import plots
from experiments.report import Report, entry

WINDOW = 10  # steps before and after an outlier; also the moving average of the figure
STEADY = 3  # steps in the range before an outlier that count as recovery
ENDS = 50  # steps at the beginning and the end that tell whether a run diverged
COLORS = {"gaussian": "black", "student_t": "red"}
AFTER = 40  # steps after an outlier in the figure


class Run(NamedTuple):
    """Training curve of one run."""

    variant: str
    process: str
    nll: np.ndarray  # after 1, 2, 3, ... steps; NaN where not finite
    every: int  # steps from one outlier to the next
    num_skipped: int


class Reaction(NamedTuple):
    """What followed each outlier, nats per image and steps."""

    jump: np.ndarray  # NLL of the batch with the outlier over the median before
    aftermath: np.ndarray  # median NLL of the steps after it over the same
    recovery: np.ndarray  # steps until the NLL is back in the range before


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options; --model may be given several times."""
    parser.add_argument("--max_steps", type=int, default=0, help="look at the first steps only; default: all")


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Reactions as entries; learning curves and the mean reaction as figures."""
    read = [read_run(Path(workdir).expanduser(), flags.max_steps) for workdir in flags.model]
    runs = [one for one, _ in read]
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for one in runs:
        groups[one.variant, one.process].append(one)
    entries: dict[str, dict[str, Any]] = {}
    for (variant, process), members in sorted(groups.items()):
        entries |= summarize(f"{variant}/{process}", members)
    figures = [draw_curves(out / "robustness.png", groups), draw_reactions(out / "robustness_reaction.png", groups)]
    facts = {"sources": [str(workdir) for workdir in flags.model]}
    return Report(read[0][1], facts, entries, {}, figures)


def read_run(workdir: Path, max_steps: int = 0) -> tuple[Run, ConfigDict]:
    """Metrics and configuration of a run.

    Raises:
      UserError: It had no outliers, or not every step was logged.
    """
    train, config = read_metrics(workdir).get("train", {}), loading.read_config(workdir / "config.json")
    every = config.data.outlier_every
    if not every:
        raise UserError(f"{workdir}: was trained without outliers. Use configs/bruno_fashion_outliers.py.")
    if "nll" not in train or (np.diff(train["step"], prepend=0) != 1).any():
        raise UserError(f"{workdir}: not every step was logged. Train with --config.training.log_every=1.")
    end = max_steps or len(train["nll"])
    skipped = train["num_skipped"][:end]
    variant = config.variant.removesuffix("student_t").rstrip("_") or "plain"
    return Run(variant, config.model.bruno.process, train["nll"][:end], every, int(skipped.max(initial=0))), config


def reactions(nll: np.ndarray, every: int) -> Reaction:
    """What followed each outlier, at steps `every`, 2 `every`, ... (nll[0] is step 1)."""
    places = [at for at in range(every - 1, len(nll) - 1, every) if at >= WINDOW]
    jump, aftermath, recovery = [], [], []
    for at in places:
        before = nll[at - WINDOW : at]
        middle = np.nanmedian(before) if np.isfinite(before).any() else np.nan
        jump.append(nll[at] - middle)
        following = nll[at + 1 : at + every]
        aftermath.append(np.nanmedian(following[:WINDOW]) - middle if np.isfinite(following[:WINDOW]).any() else np.nan)
        low = following <= np.max(before, initial=-np.inf, where=np.isfinite(before))
        back = np.flatnonzero(np.convolve(low, np.ones(STEADY, int), mode="valid") == STEADY)
        recovery.append(back[0] + 1 if len(following) >= STEADY and len(back) else every)
    return Reaction(np.array(jump), np.array(aftermath), np.array(recovery, float))


def diverged(one: Run) -> bool:
    """Whether a step was not finite, or the run ends above where it began."""
    if one.num_skipped or not np.isfinite(one.nll).all():
        return True
    return bool(np.median(one.nll[-ENDS:]) > np.median(one.nll[:ENDS]))


def summarize(name: str, members: list[Run]) -> dict[str, dict[str, Any]]:
    """Entries of one variant and process."""
    found = [reactions(one.nll, one.every) for one in members]
    number = sum(len(one.jump) for one in found)
    how = f"median over outliers ({number} in all), mean over {len(members)} runs"
    meanings = {
        "jump": ("nats/image", "training NLL at an outlier over the median of the 10 steps before"),
        "aftermath": ("nats/image", "median training NLL of 10 steps after an outlier over that of 10 steps before"),
        "recovery": ("steps", "until the NLL is back in the range of the 10 steps before, for 3 steps"),
    }
    entries = {}
    for measure, (unit, meaning) in meanings.items():
        medians = [np.nanmedian(getattr(one, measure)) if len(one.jump) else np.nan for one in found]
        entries[f"{name}/{measure}"] = entry(detection.mean_estimate(np.array(medians)), unit, f"{meaning}; {how}")
    final = np.array([np.nanmedian(one.nll[-ENDS:]) for one in members])
    what = f"training NLL, median of the last {ENDS} steps, mean over {len(members)} runs"
    entries[f"{name}/final_nll"] = entry(detection.mean_estimate(final), "nats/image", what)
    number = float(sum(diverged(one) for one in members))
    what = f"of {len(members)} runs: a step was not finite, or the end is above the beginning"
    entries[f"{name}/diverged"] = results.result(number, "runs", what)
    return entries


def draw_curves(path: Path, groups: dict[tuple[str, str], list[Run]]) -> Path:
    """Moving average of the training NLL, one panel per variant: Gaussian process black, Student-t process red."""
    variants = sorted({variant for variant, _ in groups})
    with plots.figure(path, columns=min(2, len(variants)), rows=-(-len(variants) // 2), width=5.0) as axes:
        for one, variant in zip(axes, variants, strict=False):
            floor, ceiling = np.inf, 0.0
            for (_, process), members in sorted(item for item in groups.items() if item[0][0] == variant):
                for index, member in enumerate(members):
                    smooth = running_mean(member.nll, WINDOW)
                    label = process if index == 0 else None
                    steps = np.arange(1, len(smooth) + 1)
                    one.plot(steps, smooth, color=COLORS.get(process, "blue"), linewidth=0.7, label=label)
                    ceiling = max(ceiling, 4 * float(np.nanmedian(smooth)))
                    floor = min(floor, float(np.nanmin(smooth)))
            if floor > 0:  # a run that diverged is orders of magnitude above the others
                one.set_ylim(0.9 * floor, ceiling)
                plots.log_axis(one)
            one.set_title(variant, fontsize=9)
            plots.count_axis(one, "step")
            one.set_ylabel("training NLL, nats/image", fontsize=8)
    return path


def draw_reactions(path: Path, groups: dict[tuple[str, str], list[Run]]) -> Path:
    """Median course of the NLL around outliers, over the median before."""
    variants = sorted({variant for variant, _ in groups})
    with plots.figure(path, columns=min(2, len(variants)), rows=-(-len(variants) // 2)) as axes:
        for one, variant in zip(axes, variants, strict=False):
            for (_, process), members in sorted(item for item in groups.items() if item[0][0] == variant):
                courses = [course for member in members for course in _courses(member)]
                if courses:
                    offset = np.arange(-WINDOW, len(courses[0]) - WINDOW)
                    median = np.nanmedian(np.array(courses), axis=0)
                    one.plot(offset, median, color=COLORS.get(process, "blue"), linewidth=1.0, label=process)
            plots.log_axis(one, "symlog", linthresh=10)
            one.set_title(variant, fontsize=9)
            plots.count_axis(one, "steps after an outlier")
            one.set_ylabel("NLL over the median before, nats/image", fontsize=8)
    return path


def _courses(member: Run) -> list[np.ndarray]:
    """The NLL around every outlier, over the median before it."""
    after = min(AFTER, member.every - 1)
    places = range(member.every - 1, len(member.nll) - after, member.every)
    around = [member.nll[at - WINDOW : at + after] for at in places if at >= WINDOW]
    return [course - np.nanmedian(course[:WINDOW]) for course in around if np.isfinite(course[:WINDOW]).any()]
