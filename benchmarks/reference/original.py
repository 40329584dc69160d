r"""An original implementation, given by the path of its checkout, as one more side of the comparison.

    python -m benchmarks.bench_reference --cases ns --checkout ~/hfsgm \
        --original "python time_steps.py --sets 100 --steps 4" --seconds "step took ([0-9.]+) s"

The command runs in the checkout once per round. It is the original program, if that tells how long its steps take, or
a few lines of yours that build its model with the same batch and time its steps. The first step is not counted.
"""

import os
import re
import shlex
import statistics
import subprocess
from pathlib import Path

SECONDS = r"([0-9.]+) ?s"  # the first group is the seconds of one step


def run(command: str, checkout: Path, pattern: str = SECONDS) -> dict[str, float]:
    """Run it once.

    Args:
      command: As typed in a shell, without what only a shell understands.
      checkout: Folder in which it runs.
      pattern: Regular expression that finds every step in what it prints; its first group is the seconds.

    Returns:
      Median seconds per step, and of the process: peak memory.

    Raises:
      ValueError: It failed, or fewer than two steps are found.
    """
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(shlex.split(command), cwd=checkout, text=True, **output) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    found = [float(match[1]) for match in re.finditer(pattern, printed)]
    if process.returncode or len(found) < 2:
        raise ValueError(
            f"original: expected two steps or more that match {pattern!r}, got {len(found)} and exit code "
            f"{process.returncode}. It printed last: {printed[-300:]!r}"
        )
    return {"seconds": statistics.median(found[1:]), "peak_gb": usage.ru_maxrss * 1024 / 1e9}
