"""Step time on many accelerators from what a device computes, accesses and exchanges: a formula, no measurement."""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.collect import RESULTS

PATH = RESULTS / "scale_counts.jsonl"


class Accelerator(NamedTuple):
    """Figures of a machine, to be changed by the reader; the defaults are those of NVIDIA H200 SXM, 8 to a node.

    Data sheet of the H200 (989 TFLOP/s TF32 with sparsity, half of it without; 4.8 TB/s; NVLink 900 GB/s, half of it
    per direction) and of the DGX H200 (8 ports of 400 Gb/s). Latencies and the efficiency are assumptions.
    """

    tflops: float = 494.5  # 10^12 floating-point operations/s
    memory_tb: float = 4.8  # 10^12 bytes/s
    efficiency: float = 1.0  # share of both that programs reach; 1 predicts the least compute and so the most exchange
    per_node: int = 8  # accelerators
    link_gb: float = 450.0  # 10^9 bytes/s per direction and accelerator within a node
    network_gb: float = 400.0  # 10^9 bytes/s per direction of a whole node; rings use all of its ports
    link_us: float = 2.0  # latency of a hop within a node, microseconds
    network_us: float = 6.0  # of a hop between nodes

    def reduce_seconds(self, num_bytes: float, devices: int) -> float:
        """Seconds of an all-reduce of `num_bytes` per accelerator, by a ring or by a tree, whichever is shorter.

        Ring: 2 (n - 1) / n of the bytes over every link, 2 (n - 1) hops one after the other. Double binary tree: twice
        the bytes, 2 log2 n hops.
        """
        if devices == 1:
            return 0.0
        across = devices > self.per_node
        bandwidth = 1e9 * min(self.link_gb, self.network_gb if across else math.inf)
        hop = 1e-6 * (self.network_us if across else self.link_us)
        ring = 2 * (devices - 1) / devices * num_bytes / bandwidth + 2 * (devices - 1) * hop
        tree = 2 * num_bytes / bandwidth + 2 * math.ceil(math.log2(devices)) * hop
        return min(ring, tree)


class Counts(NamedTuple):
    """What one device does in a step, as straight lines over its number of sets: (per step, per set)."""

    name: str
    config: str
    set_size: int  # images
    sets_per_batch: int  # of the configuration
    flop: tuple[float, float]
    accessed: tuple[float, float]  # bytes
    reduced: float  # bytes of all-reduces
    gradient: float  # bytes of the gradient itself
    synchronizations: float  # all-reduces that wait for each other: moments of batch normalisation, forward and back


class Step(NamedTuple):
    """Predicted seconds of a step."""

    compute: float  # arithmetic or memory traffic, whichever takes longer
    exchange: float  # of the gradient
    waiting: float  # for all-reduces inside the network, which nothing hides

    @property
    def alone(self) -> float:
        """Exchange after computing."""
        return self.compute + self.exchange + self.waiting

    @property
    def overlapped(self) -> float:
        """Exchange while computing, as far as it goes: the shortest that can be."""
        return max(self.compute, self.exchange) + self.waiting


def predict(counts: Counts, accelerator: Accelerator, devices: int, sets: float, share: float = 1.0) -> Step:
    """Step of `devices` accelerators with `sets` sets each.

    Args:
      counts: Of the model.
      accelerator: Its figures.
      devices: Number of accelerators.
      sets: Sets of each.
      share: Of the bytes that are exchanged in a step: 0.5 in bfloat16, 1 / k where k batches are accumulated.
    """
    flop, accessed = (base + slope * sets for base, slope in (counts.flop, counts.accessed))
    seconds = max(flop / (1e12 * accelerator.tflops), accessed / (1e12 * accelerator.memory_tb))
    exchange = accelerator.reduce_seconds(counts.reduced * share, devices)
    waiting = counts.synchronizations * accelerator.reduce_seconds(0.0, devices)
    return Step(seconds / accelerator.efficiency, exchange, waiting)


def load(path: Path = PATH) -> tuple[dict[str, Counts], list[dict]]:
    """Counts by model, of each from the last line of the file that has it, and all lines."""
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    return {name: _counts(name, line) for line in lines for name in line["settings"]["cases"]}, lines


def _counts(name: str, line: dict) -> Counts:
    case = line["settings"]["cases"][name]
    rows = [row for key, row in line["medians"].items() if key.startswith(f"{name}, ")]
    sets = [row["sets"] for row in rows]

    def fitted(column: str, scale: float) -> tuple[float, float]:
        slope, base = np.polyfit(sets, [row[column] for row in rows], 1)
        return scale * float(base), scale * float(slope)

    most_devices = min(rows, key=lambda row: row["sets"])
    return Counts(
        name,
        case["config"],
        case["set_size"],
        case["sets_per_batch"],
        fitted("GFLOP", 1e9),
        fitted("accessed MB", 1e6),
        1e6 * most_devices["all-reduce MB"],
        case["gradient_bytes"],
        most_devices["synchronizations"],
    )
