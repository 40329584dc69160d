"""List the experiments, or run one on a trained model.

    python -m experiments                                                # the list
    python -m experiments anomaly --help                                 # options of one
    python -m experiments anomaly --model=runs/bruno_glyphs              # a working directory
    python -m experiments anomaly --model=bruno_glyphs --out=figures     # a model that comes with exflow

Each writes `<out>/<name>.json` (entries like those of results.json, the numbers behind the figures, and where they come
from) and figures `<out>/<name>*.png`. A user's mistake is one line and exit code 2.
"""

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from exflow.errors import UserError
from exflow.program import as_program, reported

EXPERIMENTS = {
    "few_shot": "few-shot accuracy, by the original, the corrected and the noise-free protocol",
    "nll": "negative log-likelihood in nats and bits/dim, of images alone and given a set, and by position",
    "samples": "samples given sets that grow",
    "prior_samples": "samples given nothing, alone and as sets of one invented class",
    "anomaly": "detection of a wrong image in a sequence: streaming and leave-one-out scores",
    "correlations": "learned correlation, variance and degrees of freedom of every latent dimension",
    "latent_distributions": "histograms of the latents against their prior, and their distance",
    "evolution": "beliefs while images arrive: density of a test image, probability of its class",
    "learning_curves": "training loss and validation metrics over steps",
    "robustness": "what outliers in training batches do: Gaussian against Student-t process",
    "comparison": "models of any family on the same test sets: likelihood, few-shot accuracy, speed of sampling",
    "single_images": "models with latents of any family: importance-weighted bounds of the same single images",
    "sample_quality": "models of any family: Frechet and kernel distances, precision and recall of what they make",
    "cardinality": "set VAEs: evidence lower bound and its parts against the number of images in a set",
    "marginal": "set VAEs: importance-weighted and nested bounds, and predictions of the next image",
    "transfer": "set VAEs: bounds on another data set",
    "kl_layers": "set VAEs: what the latents of every level tell",
    "classification": "set VAEs: few-shot accuracy by divergence, bound and best reconstruction",
    "attention": "set VAEs: attention weights beside the set, per head and level",
    "refinement": "set VAEs: samples that the model reconstructs again and again",
    "set_samples": "set VAEs: reconstructed, given, conditional, refined and unconditional images",
    "context_probes": "set VAEs of numbers: what the latent of a set knows of their distribution",
    "summaries": "set VAEs of points: the few points that tell most of what all of them tell",
}
USAGE = "python -m experiments NAME --model=WORKDIR_OR_BUNDLED_NAME [--out=DIR] [options]"


class _Parser(argparse.ArgumentParser):
    """Reports every mistake as a one-line UserError."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. See {self.prog} --help")


def listing() -> str:
    """The experiments with one line each."""
    width = max(map(len, EXPERIMENTS))
    lines = [f"  {name:<{width}}  {line}" for name, line in EXPERIMENTS.items()]
    return "\n".join(
        [f"usage: {USAGE}", "", "experiments (python -m experiments NAME --help for the options):", *lines]
    )


def run(argv: Sequence[str]) -> Path | None:
    """Do what the command line says.

    Returns:
      The JSON file; None where only the list was printed.

    Raises:
      UserError: A mistake in the command line, or something that cannot be had.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(listing())
        return None
    name = argv[0]
    if name not in EXPERIMENTS:
        near = difflib.get_close_matches(name, EXPERIMENTS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(EXPERIMENTS)}."
        raise UserError(f"{name!r}: no such experiment. {hint}")

    from exflow.evaluation import results
    from experiments import report  # after the mistakes that need no JAX to be found

    module = importlib.import_module(f"experiments.{name}")
    parser = _Parser(
        prog=f"python -m experiments {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--model", action="append", metavar="DIR", help="working directory or name of a bundled model")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: experiments/ in the working directory")
    module.add_arguments(parser)
    flags = parser.parse_args(argv[1:])
    if not flags.model:
        parser.error("--model is missing, for example --model=runs/bruno_glyphs")
    results.check_writable(report.folder(flags), "--out")
    return report.write(name, flags, module.run(flags, report.folder(flags)))


def main() -> None:
    """All cores of a CPU, compiled programs are kept; a user's mistake is one line and exit code 2, Ctrl-C 130."""
    with reported():
        if len(sys.argv) > 2:
            import jax

            from exflow import processor
            from exflow.compilation_cache import enable_compilation_cache

            enable_compilation_cache()
            with suppress(RuntimeError):  # the devices exist already
                jax.config.update("jax_num_cpu_devices", processor.num_cores())
        run(sys.argv[1:])


if __name__ == "__main__":
    as_program(main)
