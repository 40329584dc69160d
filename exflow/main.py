"""Command line: flags to configuration to training, evaluation or sampling; no other logic."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ml_collections import ConfigDict

from exflow.config import available_configs, load_config
from exflow.errors import UserError
from exflow.program import as_program, reported

MODES = ("train_and_evaluate", "train", "evaluate", "sample", "impute", "interpolate", "edit", "finetune")
FLAGS = ("--config", "--workdir", "--mode", "--debug", "--help")
USAGE = "python -m exflow.main --config=FILE[:VARIANT] [--workdir=DIR] [--mode=MODE] [--config.SECTION.KEY=VALUE ...]"


class _Parser(argparse.ArgumentParser):
    """Reports every mistake as a one-line UserError."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. See python -m exflow.main --help")


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
    """Split the command line into flags and overrides `--config.section.key=value`."""
    parser = _Parser(
        usage=USAGE,
        description="Train, evaluate and sample deep generative models of exchangeable data. The same command resumes.",
        epilog=f"Configs that come with exflow: {', '.join(available_configs())}. "
        "All keys: exflow/config/base.py, and those of a family of models exflow/config/families/.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="required, such as configs/bruno_glyphs.py:smoke")
    parser.add_argument("--workdir", metavar="DIR", type=Path, help="default: runs/NAME[-VARIANT]")
    parser.add_argument("--mode", choices=MODES, default=MODES[0], help=f"default: {MODES[0]}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of a user error")
    overrides = [argument for argument in argv if argument.startswith("--config.")]
    for override in overrides:
        if "=" not in override:
            raise UserError(f"{override}: expected {override}=VALUE.")
    flags, unknown = parser.parse_known_args([argument for argument in argv if argument not in overrides])
    if unknown:
        near = difflib.get_close_matches(unknown[0].partition("=")[0], FLAGS, n=1)
        raise UserError(f"{unknown[0]}: no such flag. " + (f"Did you mean {near[0]}?" if near else "See --help."))
    if flags.config is None:
        parser.error(f"--config is missing, for example --config=configs/{available_configs()[0]}.py")
    return flags, [(key, value) for key, _, value in (text[len("--config.") :].partition("=") for text in overrides)]


def resolve(argv: Sequence[str]) -> tuple[str, ConfigDict, Path]:
    """Mode, configuration and working directory that the command line means; raises UserError for mistakes in it."""
    flags, overrides = parse(argv)
    config = load_config(flags.config, overrides)
    workdir = flags.workdir or Path("runs") / "-".join(filter(None, (config.name, config.variant)))
    return flags.mode, config, workdir


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says: a user's mistake is one line and exit code 2, Ctrl-C exit code 130."""
    argv = sys.argv[1:] if argv is None else argv
    with reported(debug="--debug" in argv):
        mode, config, workdir = resolve(argv)
        from exflow import modes  # after the mistakes that need no JAX to be found

        modes.MODES[mode](config, workdir)


def program() -> None:
    """Entry point of `exflow` and `python -m exflow.main`."""
    as_program(main)


if __name__ == "__main__":
    program()
