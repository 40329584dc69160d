"""`results.json` and the closing table: every number with unit, uncertainty, protocol and what was published."""

import importlib.metadata
import json
import math
import os
import platform
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from exflow import processor
from exflow.errors import UserError
from exflow.models.registry import num_parameters

PACKAGES = ("exflow", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")
PROTOCOL_WIDTH = 100  # characters of the closing table
DIGITS = {  # decimals in the closing table, by unit; 2 for other units
    "bits/dim": 4,
    "SSIM": 4,
    "R^2": 4,
    "(pixel/255)^2": 5,
    "MMD^2": 6,
    "share": 4,
}


def result(
    value: float,
    unit: str,
    protocol: str,
    published: dict[str, Any] | None = None,
    **uncertainty: float,
) -> dict[str, Any]:
    """One entry of `results`.

    Args:
      value: The number.
      unit: "%", "nats/image", "bits/dim", ...
      protocol: One line: how the number was made.
      published: `{"value", "source"}` of the same quantity in the same unit, or None.
      **uncertainty: `standard_error` or `ci95`, half width, in the same unit.

    Returns:
      Dictionary as it stands in `results.json`.
    """
    return {"value": value, "unit": unit, **uncertainty, "protocol": protocol, "published": published}


def hardware() -> dict[str, Any]:
    """What the numbers were computed on."""
    devices = jax.devices()
    return {
        "device": devices[0].device_kind,
        "platform": devices[0].platform,
        "num_devices": len(devices),
        "num_hosts": jax.process_count(),
        "cpu": processor.model_name(),
        "cpu_cores": processor.num_cores(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Commit of the checkout that exflow runs from, with "-dirty" if files differ from it; None outside a checkout.

    $EXFLOW_COMMIT, where it is set, is taken instead: for copies of a checkout on machines without its history.
    """
    if os.environ.get("EXFLOW_COMMIT"):
        return os.environ["EXFLOW_COMMIT"]
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed, perhaps below a checkout of something else
        return None
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("-dirty" if changes.stdout.strip() else "")


def document(
    config: ConfigDict,
    step: int,
    params: Any,
    results: dict[str, dict[str, Any]],
    info: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Content of `results.json`.

    Args:
      config: Complete configuration.
      step: Training step of the evaluated parameters.
      params: Evaluated parameters, to count them.
      results: Entries by name, from `result`.
      info: Further facts, such as `training_seconds`; may overwrite `num_parameters`.

    Returns:
      JSON-ready dictionary.
    """
    facts = {
        "step": step,
        "num_parameters": num_parameters(params),
        "seed": config.training.seed,
        **(info or {}),
    }
    made_with = {"hardware": hardware(), "versions": versions(), "commit": commit()}
    return {"config": config.to_dict(), **facts, "results": results, **made_with}


def check_writable(folder: Path, flag: str) -> None:
    """Refuse a folder that cannot be written, before anything is computed for it. Nothing is left there.

    Args:
      folder: May not exist yet; then the first folder above it that does is asked.
      flag: Of the command line that chooses another.

    Raises:
      UserError: Says why.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}). Choose another {flag}.") from error


def write_results(path: Path, content: dict[str, Any]) -> None:
    """Replace `results.json` atomically; numbers that are not finite become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")
    temporary.replace(path)


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The closing table: result | value | published | protocol. Of numbered groups it shows the sum."""
    rows = [("result", "value", "published", "protocol")]
    for name, entry in _summed(results).items():
        published = entry["published"]
        reference = "-" if published is None else _number(published["value"], entry["unit"])
        rows.append((name, _value(entry), reference, _shorten(entry["protocol"], PROTOCOL_WIDTH)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "-" * max(map(len, lines))
    sources = sorted({entry["published"]["source"] for entry in results.values() if entry["published"]})
    return "\n".join([lines[0], rule, *lines[1:], *(f"published: {source}" for source in sources)])


def _summed(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Entries `<name>_group_<n>`, n = 0, 1, ..., as one; its uncertainty would need to know how they covary."""
    rows: dict[str, Mapping[str, Any]] = {}
    for name, entry in results.items():
        stem, group, number = name.rpartition("_group_")
        if not group or not number.isdigit():
            rows[name] = entry
            continue
        row = f"{stem} of all groups"
        before = rows[row]["value"] if row in rows else 0.0
        how = f"sum over groups; {entry['protocol'].split(';')[0]}"
        rows[row] = result(before + entry["value"], entry["unit"], how)
    return rows


def _value(entry: Mapping[str, Any]) -> str:
    spread = entry.get("ci95", entry.get("standard_error"))
    text = _number(entry["value"], entry["unit"])
    if spread is None or not math.isfinite(spread):
        return f"{text} {entry['unit']}"
    low, high = entry["value"] - spread, entry["value"] + spread
    if "ci95" in entry and entry["unit"] == "%" and (low < 0 or high > 100):  # few trials: no share is outside
        text += f" [{_number(max(low, 0.0), '%')}, {_number(min(high, 100.0), '%')}]"
    else:
        text += f" +- {_number(spread, entry['unit'])}"
    return f"{text} {entry['unit']}"


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "nan"
    return f"{value:.{DIGITS.get(unit, 2)}f}"


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _plain(value: Any) -> Any:
    """Value with only types that JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
