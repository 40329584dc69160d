"""How many bytes the devices of a compiled program exchange, read from its text.

`compiled.as_text()` of `jax.jit(...).lower(...).compile()` is the program of one device after partitioning (HLO), one
instruction a line:

    %all-reduce.1 = (f32[64]{0}, f32[3,3]{1,0}) all-reduce(%a, %b), channel_id=1, replica_groups=[1,8]<=[8], ...

The volume of a collective is that of its operands: what one device contributes. What crosses a link depends on the
algorithm; see `experiments/scaling.py`.
"""

import math
import re
from typing import NamedTuple

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*)$")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d\w*)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\s*\{"n":"(\d+)"')


class Volume(NamedTuple):
    """What one device contributes to one run of a program, by kind of collective."""

    bytes: dict[str, int]
    number: dict[str, int]  # of operations, those of loops once per pass; XLA may combine many arrays into one
    chain: int  # of operations in the longest sequence that wait for each other's results

    @property
    def total(self) -> int:
        """Bytes of all kinds."""
        return sum(self.bytes.values())


class _Instruction(NamedTuple):
    kind: str
    size: int  # bytes of the result
    operands: list[str]
    called: list[str]
    trips: int | None  # passes of a loop; None where the compiler does not know them


def volume(text: str) -> Volume:
    """Count the collectives of a program.

    Args:
      text: `compiled.as_text()`, or what XLA dumps.

    Returns:
      Bytes and numbers. Of a conditional all branches count; of an asynchronous collective its start.

    Raises:
      ValueError: There is no entry computation, or a collective lies in a loop of unknown length.
    """
    computations, entry = _parse(text)
    if entry is None:
        raise ValueError("text: expected HLO with an ENTRY computation. Give it compiled.as_text().")
    return _of(entry, computations, {})


def array_bytes(hlo_type: str) -> int:
    """Bytes of a type such as "f32[16,3]{1,0}" or "(bf16[2], s32[])"; tokens take none."""
    total = 0
    for dtype, shape in _ARRAY.findall(hlo_type):
        digits = re.search(r"\d+", dtype)
        bits = 8 if digits is None else int(digits.group())
        total += math.ceil(bits * math.prod(int(size) for size in shape.split(",") if size) / 8)
    return total


def _parse(text: str) -> tuple[dict[str, dict[str, _Instruction]], str | None]:
    """Instructions by name by computation, and the name of the first computation to run."""
    computations: dict[str, dict[str, _Instruction]] = {}
    current, entry = {}, None
    for line in text.splitlines():
        opened = _COMPUTATION.match(line)
        if opened:
            current = computations.setdefault(opened.group(2), {})
            entry = opened.group(2) if opened.group(1) else entry
            continue
        found = _INSTRUCTION.match(line)
        if found:
            name, hlo_type, kind, rest = found.groups()
            operands, attributes = (rest.split("), ", 1) + [""])[:2]
            called = _CALLED.findall(attributes)
            for branches in _BRANCHES.findall(attributes):
                called += [branch.strip().lstrip("%") for branch in branches.split(",")]
            trips = _TRIPS.search(attributes)
            current[name] = _Instruction(
                kind,
                array_bytes(hlo_type),
                re.findall(r"%([\w.-]+)", operands),
                called,
                (int(trips.group(1)) if trips else None) if kind == "while" else 1,
            )
    return computations, entry


def _of(name: str, computations: dict[str, dict[str, _Instruction]], known: dict[str, Volume]) -> Volume:
    """Volume of a computation and all that it calls."""
    if name in known:
        return known[name]
    sizes, numbers = dict.fromkeys(COLLECTIVES, 0), dict.fromkeys(COLLECTIVES, 0)
    chains: dict[str, int] = {}
    instructions = computations.get(name, {})
    for result, instruction in instructions.items():  # operands come before what takes them
        kind, chain = instruction.kind.removesuffix("-start"), 0
        if kind in COLLECTIVES:
            sizes[kind] += sum(instructions[operand].size for operand in instruction.operands)
            numbers[kind] += 1
            chain = 1
        for called in instruction.called:
            inner = _of(called, computations, known)
            if inner.number and instruction.trips is None:
                raise ValueError(f"{called}: has a collective in a loop of unknown length. Give it a fixed length.")
            trips = instruction.trips or 0
            for inner_kind in inner.number:
                sizes[inner_kind] += trips * inner.bytes[inner_kind]
                numbers[inner_kind] += trips * inner.number[inner_kind]
            chain = max(chain, trips * inner.chain)
        chains[result] = chain + max((chains.get(operand, 0) for operand in instruction.operands), default=0)
    found = [kind for kind in sorted(COLLECTIVES) if numbers[kind]]
    known[name] = Volume(
        {kind: sizes[kind] for kind in found},
        {kind: numbers[kind] for kind in found},
        max(chains.values(), default=0),
    )
    return known[name]
