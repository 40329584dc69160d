"""Structural similarity against a loop over windows, and its limits."""

import numpy as np
import pytest

from exflow.evaluation.metrics.image_quality import mean_squared_error, peak_signal_to_noise, structural_similarity


def by_loops(first, second, size=7):
    """One pair of images [h, w, c]: the mean over windows and channels, straight from the formula."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    height, width, channels = first.shape
    for channel in range(channels):
        for row in range(height - size + 1):
            for column in range(width - size + 1):
                x, y = (
                    image[row : row + size, column : column + size, channel].astype(np.float64).ravel()
                    for image in (first, second)
                )
                covariance = np.cov(x, y)
                numerator = (2 * x.mean() * y.mean() + c1) * (2 * covariance[0, 1] + c2)
                denominator = (x.mean() ** 2 + y.mean() ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2)
                values.append(numerator / denominator)
    return np.mean(values)


@pytest.mark.parametrize("shape", [(12, 10, 1), (9, 9, 3)])
def test_similarity_equals_the_loop(shape):
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (3, 2, *shape), dtype=np.uint8)
    noise = rng.integers(-40, 40, first.shape)
    second = np.clip(first + noise, 0, 255).astype(np.uint8)
    found = structural_similarity(first, second)
    assert found.shape == (3, 2)
    for index in np.ndindex(3, 2):
        np.testing.assert_allclose(found[index], by_loops(first[index], second[index]), rtol=1e-10)


def test_limits():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    np.testing.assert_allclose(structural_similarity(images, images), 1.0)
    np.testing.assert_array_equal(mean_squared_error(images, images), 0.0)
    assert (structural_similarity(images, 255 - images) < 0).all()
    black = np.zeros_like(images)
    np.testing.assert_allclose(mean_squared_error(black, black + 255), 1.0)
    np.testing.assert_allclose(mean_squared_error(images, black), ((images / 255.0) ** 2).mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(structural_similarity(black, black), 1.0)  # flat windows
    small = images[:, :4, :5]
    np.testing.assert_allclose(structural_similarity(small, 255 - small)[0], by_loops(small[0], 255 - small[0], 4))


def test_signal_to_noise_in_decibels():
    black = np.zeros((1, 2, 2, 1), np.uint8)
    one = black.copy()
    one[0, 0, 0, 0] = 255
    np.testing.assert_allclose(peak_signal_to_noise(black, black + 255), [0.0], atol=1e-12)
    np.testing.assert_allclose(peak_signal_to_noise(black, one), [10 * np.log10(4.0)])
    assert np.isposinf(peak_signal_to_noise(one, one)).all()
