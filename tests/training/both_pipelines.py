"""Both kinds of pipelines, for tests that hold with either."""

import pytest

from tests.training.toy import device_pipeline, host_pipeline

BOTH_PIPELINES = [
    pytest.param(device_pipeline(), id="device"),
    pytest.param(host_pipeline(), id="host", marks=pytest.mark.slow),  # only the inputs of a step differ
]
