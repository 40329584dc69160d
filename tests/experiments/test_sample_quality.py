"""The table of sample quality of several models."""

from exflow.evaluation.results import result
from experiments.sample_quality import table


def test_table():
    entries = {
        "a/test_floor/fid[m:f]": result(1.0, "", ""),
        "a/test_prior/fid[m:f]": result(12.3456, "", ""),
        "a/test_prior/kid[m:f]": result(0.00123456, "", ""),
        "b/test_reconstruction/fid[x/y.pb-1,jpeg75]": result(3.0, "", ""),
        "b/test_reconstruction/psnr": {"value": None},
    }
    assert table(entries) == [
        "                       fid    kid       psnr",
        "a/test_floor           1      -         -",
        "a/test_prior           12.35  0.001235  -",
        "b/test_reconstruction  3      -         -",
    ]
