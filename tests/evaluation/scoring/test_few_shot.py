"""Few-shot accuracy: episodes, scores and counting against brute force."""

import jax.numpy as jnp
import numpy as np
import pytest

from exflow.evaluation.scoring import few_shot
from exflow.evaluation.scoring.episode_draws import draw_episodes
from tests.evaluation.toy import ToyElement, toy_model, toy_params
from tests.evaluation.toy_data import predictive_log_prob

MODEL = toy_model((1, 3, 1))
PARAMS = toy_params(3, variance=1.3, covariance=0.9, mean=0.2)


def elements_of(z):
    z = np.asarray(z, np.float32)
    return ToyElement(z, np.full(z.shape[:-1], -1.5, np.float32))


def random_elements(classes=6, rotations=2, images=4, spread=0.6, seed=0):
    rng = np.random.default_rng(seed)
    return elements_of(
        rng.normal(size=(classes, rotations, 1, 3)) + spread * rng.normal(size=(classes, rotations, images, 3))
    )


def unflatten(rows, rotations, images):
    return rows // (rotations * images), rows // images % rotations, rows % images


def test_episodes_of_the_paper():
    count = np.array([4, 2, 4, 3, 4, 1])
    episodes = draw_episodes(np.random.default_rng(0), count, 2, 4, way=3, shot=2)
    usable = [0, 2, 3, 4]  # classes of three images or more
    assert episodes.support.shape == (8, 3, 2)
    assert episodes.query.shape == (8, 1, 1)
    classes, rotations, images = unflatten(episodes.support, 2, 4)
    query_class, query_rotation, query_image = (part[:, 0, 0] for part in unflatten(episodes.query, 2, 4))
    np.testing.assert_array_equal(query_class, np.repeat(usable, 2))
    np.testing.assert_array_equal(query_rotation, [0, 1] * 4)
    np.testing.assert_array_equal(classes[:, 0, 0], query_class)
    np.testing.assert_array_equal(rotations[:, 0, 0], query_rotation)
    for episode in range(8):
        for way in range(3):
            assert len(set(classes[episode, way])) == len(set(rotations[episode, way])) == 1
            assert len(set(images[episode, way])) == 2
            assert (images[episode, way] < count[classes[episode, way]]).all()
        assert len(set(classes[episode, :, 0])) == 3  # no other rotation of a character competes
        assert query_image[episode] not in images[episode, 0]


def test_episodes_are_uniform_and_reproducible():
    draws = [draw_episodes(np.random.default_rng(seed), np.full(5, 3), 2, 3, 3, 1) for seed in range(400)]
    again = draw_episodes(np.random.default_rng(7), np.full(5, 3), 2, 3, 3, 1)
    np.testing.assert_array_equal(draws[7].support, again.support)
    support = np.stack([draw.support for draw in draws])
    classes, rotations, images = unflatten(support, 2, 3)
    others = classes[:, 0, 1:].reshape(-1)  # distractors of class 0
    np.testing.assert_allclose(np.bincount(others, minlength=5)[1:] / others.size, 0.25, atol=5 * (0.1875 / 800) ** 0.5)
    np.testing.assert_allclose(rotations[..., 1:, :].mean(), 0.5, atol=5 * 0.5 / rotations[..., 1:, :].size ** 0.5)
    np.testing.assert_allclose(np.bincount(images.reshape(-1)) / images.size, 1 / 3, atol=5 * 0.48 / images.size**0.5)


@pytest.mark.parametrize(("way", "shot"), [(2, 1), (4, 3)])
def test_scores_and_accuracy_equal_brute_force(way, shot, monkeypatch):
    monkeypatch.setattr(few_shot, "CHUNK_BYTES", {"cpu": 500})  # several chunks, the last one padded
    elements = random_elements()
    right = []
    for trial in range(2):
        episodes = draw_episodes(np.random.default_rng((5, way, shot, trial)), np.full(6, 4), 2, 4, way, shot)
        flat = elements.z.reshape(-1, 3)
        expected = np.array(
            [
                [predictive_log_prob(flat[rows], flat[query[0, 0]], PARAMS) - 1.5 for rows in support]
                for support, query in zip(episodes.support, episodes.query, strict=True)
            ]
        )
        scores = few_shot.score_episodes(MODEL, PARAMS, elements, episodes)
        np.testing.assert_allclose(scores[:, 0], expected, rtol=2e-5)
        right.append((expected.argmax(-1) == 0).mean())
    result = few_shot.few_shot_accuracy(MODEL, PARAMS, elements, way, shot, 2, seed=5)
    assert result.num_decisions == 24
    for accuracy in (result.original, result.corrected):
        np.testing.assert_allclose(accuracy.trials, right)
        np.testing.assert_allclose(accuracy.mean, np.mean(right))
    assert result.corrected.ci95 == pytest.approx(12.706204736 * np.std(right, ddof=1) / 2**0.5)


def test_separated_classes_are_always_right_although_rotations_look_alike():
    z = np.arange(5.0)[:, None, None, None] * 10 + np.zeros((5, 4, 3, 3))
    params = toy_params(3, variance=1000.0, covariance=999.0)
    result = few_shot.few_shot_accuracy(MODEL, params, elements_of(z), 5, 1, 3, seed=0)
    assert result.corrected.trials == result.original.trials == (1.0, 1.0, 1.0)
    assert few_shot.validation_accuracy(MODEL, params, elements_of(z), 5, 1, 20, 2, seed=0) == 1.0


def test_ties_and_nan_count_in_the_original_only():
    tie = few_shot.few_shot_accuracy(MODEL, PARAMS, elements_of(np.ones((4, 2, 3, 3))), 4, 1, 2, seed=0)
    assert tie.original.mean == 1.0
    assert tie.corrected.mean == 0.25
    nan = few_shot.few_shot_accuracy(MODEL, PARAMS, elements_of(np.full((4, 2, 3, 3), np.nan)), 4, 1, 2, seed=0)
    assert nan.original.mean == 1.0
    assert nan.corrected.mean == 0.0


def test_counting_by_hand():
    scores = np.array(
        [
            [3.0, 1.0, 2.0],  # right
            [1.0, 3.0, 2.0],  # wrong
            [3.0, 3.0, 2.0],  # tie of two
            [2.0, 3.0, 3.0],  # tie without the target
            [-np.inf, -np.inf, -np.inf],  # tie of three
            [3.0, np.nan, 2.0],  # NaN elsewhere: argmax finds the NaN
            [np.nan, 1.0, 2.0],  # NaN at the target
        ]
    )
    original, corrected = few_shot.count_correct(scores)
    np.testing.assert_array_equal(original, [1, 0, 1, 0, 1, 0, 1])
    np.testing.assert_allclose(corrected, [1, 0, 0.5, 0, 1 / 3, 0, 0])
    shifted = few_shot.count_correct(np.roll(scores, 1, axis=-1), np.ones(7, int))[1]
    np.testing.assert_allclose(shifted, corrected)


def test_validation_accuracy_equals_brute_force():
    elements = random_elements(spread=1.0)
    accuracy = few_shot.validation_accuracy(MODEL, PARAMS, elements, 3, 2, num_episodes=10, num_query=2, seed=1)
    episodes = draw_episodes(np.random.default_rng((1, 3, 2)), np.full(6, 4), 2, 4, 3, 2, 2, 10)
    assert episodes.query.shape == (10, 3, 2)
    flat, right = elements.z.reshape(-1, 3), []
    for support, queries in zip(episodes.support, episodes.query, strict=True):
        for target in range(3):
            assert not set(queries[target]) & set(support[target])
            for query in queries[target]:
                scores = [predictive_log_prob(flat[rows], flat[query], PARAMS) for rows in support]
                right.append(np.argmax(scores) == target)
    assert accuracy == pytest.approx(np.mean(right))
    assert 0.34 < accuracy < 1


def test_trials_can_be_run_in_parts_and_are_compiled_once():
    elements, calls = random_elements(), []

    def update(*arguments):
        calls.append(1)
        return MODEL.sets.update(*arguments)

    model = MODEL._replace(sets=MODEL.sets._replace(update=update))
    whole = few_shot.few_shot_accuracy(model, PARAMS, elements, 3, 1, 5, seed=0)
    parts = [few_shot.few_shot_accuracy(model, PARAMS, elements, 3, 1, range(k, 5, 2), seed=0) for k in (0, 1)]
    assert sorted(whole.corrected.trials) == sorted(parts[0].corrected.trials + parts[1].corrected.trials)
    assert len(calls) == 1


def test_too_few_classes():
    message = r"way: expected 1 to 3 \(the classes with at least 3 images\), got 4"
    with pytest.raises(ValueError, match=message):
        few_shot.few_shot_accuracy(
            MODEL, PARAMS, random_elements(), 4, 2, 1, seed=0, count=np.array([4, 4, 4, 2, 2, 2])
        )


def test_float64_scores_are_exact(x64):
    elements = random_elements()
    elements = ToyElement(elements.z.astype(np.float64), elements.log_det.astype(np.float64))
    params = {"flow": {}, "process": {k: jnp.asarray(v, jnp.float64) for k, v in PARAMS["process"].items()}}
    episodes = draw_episodes(np.random.default_rng(0), np.full(6, 4), 2, 4, 3, 2)
    scores = few_shot.score_episodes(MODEL, params, elements, episodes)
    flat = elements.z.reshape(-1, 3)
    expected = predictive_log_prob(flat[episodes.support[5, 1]], flat[episodes.query[5, 0, 0]], params) - 1.5
    np.testing.assert_allclose(scores[5, 0, 1], expected, rtol=1e-10)


@pytest.mark.parametrize(("number", "quantile"), [(2, 12.7062), (3, 4.3027), (20, 2.0930)])
def test_interval_of_trials_is_that_of_student_t(number, quantile):
    """Quantiles of Abramowitz and Stegun 1964, table 26.10."""
    trials = np.random.default_rng(0).random(number)
    accuracy = few_shot.summarize(trials.tolist())
    assert accuracy.ci95 == pytest.approx(quantile * trials.std(ddof=1) / number**0.5, rel=1e-4)
    assert np.isnan(few_shot.summarize(trials[:1].tolist()).ci95)
