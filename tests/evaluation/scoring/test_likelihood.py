"""Likelihood of sets against the dense joint Gaussian, and the bounds over noise draws against their definitions."""

import numpy as np
import pytest

from exflow.evaluation.scoring import likelihood
from tests.evaluation.scoring.test_few_shot import MODEL, PARAMS, elements_of, random_elements
from tests.evaluation.toy_data import joint_log_prob


def test_sets_cover_every_class_once():
    count = np.array([4, 3, 7, 1, 0])
    sets = likelihood.draw_sets(count, num_rotations=2, max_count=7, set_size=3, seed=0)
    label, rotation, image = sets.rows // 14, sets.rows // 7 % 2, sets.rows % 7
    seen = {}
    for row, mask in enumerate(sets.mask):
        assert mask.any()
        assert len(set(label[row])) == len(set(rotation[row])) == 1
        key = (int(label[row, 0]), int(rotation[row, 0]))
        seen.setdefault(key, []).extend(image[row][mask].tolist())
    for turn in (0, 1):
        assert [len(seen[c, turn]) for c in range(4)] == [3, 3, 6, 1]  # the remainder is left out, the small class kept
        assert all(len(set(seen[c, turn])) == len(seen[c, turn]) and max(seen[c, turn]) < count[c] for c in range(4))
    assert likelihood.draw_sets(np.array([4, 4]), 1, 4, 0, seed=0).rows.shape == (2, 4)
    other = likelihood.draw_sets(count, 2, 7, 3, seed=1)
    assert not np.array_equal(sets.rows, other.rows)


@pytest.mark.parametrize("chunk", [1, 2**26])
def test_nll_equals_the_dense_joint(chunk, monkeypatch):
    monkeypatch.setattr(likelihood, "CHUNK_BYTES", chunk)
    elements, count = random_elements(images=5), np.array([5, 2, 3, 5, 1, 4])
    sets = likelihood.draw_sets(count, 2, 5, 0, seed=0)
    conditional, prior = likelihood.set_log_probs(MODEL, PARAMS, elements, sets)
    summary = likelihood.summarize(likelihood.SetLogProbs(conditional[None], prior[None], sets.mask))
    joint, single = [], []
    for label in range(6):
        for turn in range(2):
            z = elements.z[label, turn, : count[label]]
            joint.append(joint_log_prob(z, PARAMS) - 1.5 * len(z))
            single.append(sum(joint_log_prob(one[None], PARAMS) - 1.5 for one in z))
    total = 2 * count.sum()
    assert summary.mask.shape[0] == 12
    np.testing.assert_allclose(summary.nll.value, -np.sum(joint) / total, rtol=1e-5)
    np.testing.assert_allclose(summary.nll_prior.value, -np.sum(single) / total, rtol=1e-5)
    assert summary.nll_bound.value == pytest.approx(summary.nll.value)
    np.testing.assert_allclose(conditional.sum(-1), joint, rtol=1e-5)
    assert not conditional[~sets.mask].any()
    assert not prior[~sets.mask].any()


def test_standard_error_of_equal_sets_is_that_of_a_mean():
    rng = np.random.default_rng(0)
    log_probs, mask = rng.normal(size=(1, 30, 4)), np.ones((30, 4), bool)
    summary = likelihood.summarize(likelihood.SetLogProbs(log_probs, log_probs, mask))
    means = -log_probs[0].mean(-1)
    np.testing.assert_allclose(summary.nll.value, means.mean())
    np.testing.assert_allclose(summary.nll.standard_error, means.std(ddof=1) / 30**0.5)


def test_bounds_over_noise_draws():
    rng = np.random.default_rng(1)
    conditional, prior = rng.normal(size=(2, 5, 3, 2)) * 2
    mask = np.array([[True, True], [True, False], [True, True]])
    conditional, prior = conditional * mask, prior * mask
    summary = likelihood.summarize(likelihood.SetLogProbs(conditional, prior, mask))
    joint_bound = -np.log(np.exp(conditional.sum(-1)).mean(0)).sum() / 5
    prior_bound = -np.log(np.exp(prior).mean(0))[mask].sum() / 5
    np.testing.assert_allclose(summary.nll_bound.value, joint_bound)
    np.testing.assert_allclose(summary.nll_prior_bound.value, prior_bound)
    np.testing.assert_allclose(summary.nll.value, -conditional.sum() / 25)
    assert summary.nll_bound.value < summary.nll.value  # Jensen
    assert summary.num_draws == 5


def test_padding_may_hold_anything():
    z = np.random.default_rng(0).normal(size=(2, 1, 3, 3))
    z[1, 0, 2] = np.nan
    sets = likelihood.Sets(np.array([[0, 1, 2], [3, 4, 5]], np.int32), np.array([[True] * 3, [True, True, False]]))
    conditional, prior = likelihood.set_log_probs(MODEL, PARAMS, elements_of(z), sets)
    assert np.isfinite(conditional).all()
    assert np.isfinite(prior).all()
    np.testing.assert_allclose(conditional[1].sum(), joint_log_prob(z[1, 0, :2], PARAMS) - 3, rtol=1e-5)


def test_bits_per_dim():
    assert likelihood.bits_per_dim(543.4273, (28, 28, 1)) == pytest.approx(1.0, rel=1e-6)
    assert likelihood.bits_per_dim(2129.348, (32, 32, 3)) == pytest.approx(1.0, rel=1e-6)


def test_sets_are_described_by_the_elements_that_they_hold():
    mask = np.arange(20) < np.array([[12], [12]])
    assert likelihood.describe_sets(mask, "test images") == "2 sets of 12 test images of a class"
    mask = np.arange(20) < np.array([[12], [20], [5]])
    assert likelihood.describe_sets(mask, "train images") == "3 sets of 5 to 20 train images of a class"
