"""The exchangeable process that was learned in every latent dimension: how many dimensions carry what sets share.

`correlations.png`: number of dimensions with a correlation above eps, the correlations in order, and, for models with a
Student-t process, degrees of freedom against correlation.
"""

import argparse
from pathlib import Path

import numpy as np

from exflow.evaluation import results
from exflow.evaluation.analysis import correlations
from experiments import plots
from experiments.report import Report
from experiments.subject import add_subject_arguments, open_subject


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add_subject_arguments(parser, split=None)


def run(flags: argparse.Namespace, out: Path) -> Report:
    """Counts and ranges as entries; all values as series."""
    subject = open_subject(flags)
    process = correlations.latent_process(subject.model.core, subject.model.params)
    dim, thresholds = len(process.correlation), np.asarray(correlations.THRESHOLDS)
    entries = {
        f"dimensions/correlation>{threshold:g}": results.result(
            float(number), "dimensions", f"of {dim}, learned rho / v"
        )
        for threshold, number in zip(thresholds, correlations.dimensions_above(process, thresholds), strict=True)
    }
    for name in ("correlation", "variance", "degrees_of_freedom"):
        values = getattr(process, name)
        if values is None:
            continue
        for statistic in ("min", "median", "max"):
            value = float(getattr(np, statistic)(values))
            entries[f"{name}/{statistic}"] = results.result(value, "", f"over {dim} latent dimensions")
    epsilon = np.arange(0, 0.9, 0.001)
    above = correlations.dimensions_above(process, epsilon)
    path = out / "correlations.png"
    with plots.figure(path, columns=2 if process.degrees_of_freedom is None else 3) as axes:
        shown = (epsilon > 0) & (above > 0)
        axes[0].loglog(epsilon[shown], above[shown], color="black", linewidth=1.2)
        axes[0].set_xlabel("eps", fontsize=8)
        axes[0].set_ylabel("dimensions with correlation > eps", fontsize=8)
        axes[1].plot(np.sort(process.correlation)[::-1], color="black", linewidth=1.2)
        plots.count_axis(axes[1], "latent dimensions, in order")
        axes[1].set_ylabel("correlation rho / v", fontsize=8)
        if process.degrees_of_freedom is not None:
            axes[2].semilogy(process.correlation, process.degrees_of_freedom, ".", color="black", markersize=3)
            axes[2].set_xlabel("correlation", fontsize=8)
            axes[2].set_ylabel("degrees of freedom", fontsize=8)
    learned = {name: values for name, values in process._asdict().items() if values is not None}
    series = {**learned, "epsilon": epsilon, "dimensions_above_epsilon": above}
    return Report(subject.config, subject.facts, entries, series, [path])
