"""What a trace is counted by."""

import json
import subprocess
import sys

import pytest

from benchmarks.trace_step import kind_of, operations

PROGRAM = """
HloModule jit_step
ENTRY %main (x: f32[2,4,4,8]) -> f32[2,4,4,8] {
  %x = f32[2,4,4,8]{3,2,1,0} parameter(0)
  %conv.1 = f32[2,4,4,8]{3,2,1,0} convolution(%x, %k), window={size=3x3}, metadata={op_name="jit(step)/jvp()/conv"}
  %conv.2 = f32[3,3,8,8]{3,2,1,0} convolution(%x, %k), metadata={op_name="jit(step)/transpose(jvp())/conv"}
  %transpose_copy_fusion.3 = f32[4,4,8,2]{3,2,1,0} fusion(%x), kind=kLoop, calls=%f
  %ynn_fusion.4 = f32[8]{0} fusion(%x), kind=kCustom, calls=%g
  %all-reduce.5 = (f32[8]{0}, f32[]) all-reduce(%a, %b), to_apply=%add
  ROOT %add_multiply_fusion = f32[2,4,4,8]{3,2,1,0} fusion(%x), kind=kLoop, calls=%h
}
"""


def test_kinds_of_operations():
    found = operations(PROGRAM)
    assert found["conv.2"].shape == "f32[3,3,8,8]{3,2,1,0}"
    kinds = {name: kind_of(name, operation) for name, operation in found.items()}
    assert kinds == {
        "x": "parameter",
        "conv.1": "convolutions",
        "conv.2": "convolutions, gradient",
        "transpose_copy_fusion.3": "transposes and copies",
        "ynn_fusion.4": "sums",
        "all-reduce.5": "all-reduce",
        "add_multiply_fusion": "element by element",
    }


@pytest.mark.slow
def test_shares_of_a_traced_step_add_up(tmp_path):
    out = tmp_path / "trace.jsonl"
    command = [sys.executable, "-m", "benchmarks.trace_step", "ns", "--quick", f"--out={out}"]
    subprocess.run(command, check=True, capture_output=True)
    medians = json.loads(out.read_text())["medians"]
    kinds = {row: cells for row, cells in medians.items() if not any(c in row for c in "[.")}
    assert kinds["convolutions"]["s"] > 0
    assert sum(cells["share"] for cells in kinds.values()) == pytest.approx(1.0)
