"""Fine-tuning of an inference network: what it changes and leaves alone, and how close it comes to the evidence."""

import jax
import numpy as np
import pytest

from exflow.errors import UserError
from exflow.evaluation.scoring.importance import importance
from exflow.evaluation.scoring.inference_tuning import Tuning, rate_schedule, tuned
from tests.evaluation.linear_gaussian import data, linear_gaussian, log_evidence, parameters

KEY = jax.random.key(1)
TUNING = Tuning(epochs=80, learning_rate=0.04, b1=0.9, b2=0.99, epsilon=1e-4, l2=0.0, clip_norm=100.0)
VALUES = data(120)  # two batches
MASK = np.ones(VALUES.shape[:2], bool)


@pytest.fixture(scope="module")
def after():
    """Parameters after fine-tuning."""
    return jax.device_get(tuned(linear_gaussian(), parameters(), VALUES, MASK, KEY, TUNING))


def test_the_generator_stays_bit_for_bit(after):
    before = parameters()
    np.testing.assert_array_equal(after["generator"]["weight"], before["generator"]["weight"])
    for name, part in before["inference"].items():
        assert (after["inference"][name] != part).all()


@pytest.mark.slow
def test_the_bound_comes_close_to_the_evidence_and_not_above(after):
    """The family of posteriors holds the exact one, so that what is missing at the end is a part of what was."""
    exact = log_evidence(VALUES)
    start, end = (
        importance(linear_gaussian(), params, VALUES, jax.random.key(2), 50) for params in (parameters(), after)
    )
    missing = (exact - start.elbo).mean(), (exact - end.elbo).mean()
    assert missing[0] > 0.2
    assert 0.0 < missing[1] < 0.02
    noise = np.hypot(start.standard_error, end.standard_error)
    assert (end.bound - start.bound).mean() > -3 * np.sqrt((noise**2).sum()) / len(noise)
    assert (end.effective_sample_size > start.effective_sample_size).all()


def test_published_rates():
    """1e-5 for 25 epochs, then 3e-5, halved at 75 and at 150, of 199 epochs of 100 batches."""
    rate = rate_schedule(3e-5, 19_900)
    for epoch, expected in ((0, 1e-5), (24, 1e-5), (25, 3e-5), (74, 3e-5), (75, 1.5e-5), (149, 1.5e-5), (150, 7.5e-6)):
        for step in (100 * epoch, 100 * epoch + 99):
            np.testing.assert_allclose(float(rate(step)), expected, rtol=1e-5, err_msg=f"{step}")
    assert float(rate(19_899)) == pytest.approx(7.5e-6)


@pytest.mark.parametrize(
    ("group_of", "message"),
    [
        (lambda name: "main", r"linear Gaussian has no parameters in a group 'inference' .* Set it to 0\."),
        (
            lambda name: "inference",
            r"parameters of group 'inference' change what the model generates, so .* Set it",
        ),
    ],
)
def test_other_groups_are_refused(group_of, message):
    with pytest.raises(UserError, match=message):
        tuned(linear_gaussian()._replace(group_of=group_of), parameters(), VALUES, MASK, KEY, TUNING._replace(epochs=1))
