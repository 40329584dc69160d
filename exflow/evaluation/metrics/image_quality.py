"""How close predicted images are to true ones: squared error, signal-to-noise ratio and structural similarity."""

import numpy as np
from jaxtyping import Float, UInt8

WINDOW = 7  # pixels; smaller where the image is
LUMINANCE, CONTRAST = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # keep the ratios finite on flat windows


def mean_squared_error(
    first: UInt8[np.ndarray, "*lead height width channels"], second: UInt8[np.ndarray, "*lead height width channels"]
) -> Float[np.ndarray, "*lead"]:
    """Mean over the pixels of ((first - second) / 255)^2, in [0, 1]."""
    return (((first.astype(np.float64) - second) / 255) ** 2).mean(axis=(-3, -2, -1))


def peak_signal_to_noise(
    first: UInt8[np.ndarray, "*lead height width channels"], second: UInt8[np.ndarray, "*lead height width channels"]
) -> Float[np.ndarray, "*lead"]:
    """-10 log10 of the mean squared error of pixels in [0, 1], in decibels; infinite for equal images."""
    with np.errstate(divide="ignore"):
        return -10 * np.log10(mean_squared_error(first, second))


def structural_similarity(
    first: UInt8[np.ndarray, "*lead height width channels"], second: UInt8[np.ndarray, "*lead height width channels"]
) -> Float[np.ndarray, "*lead"]:
    """Mean over all windows of 7x7 pixels inside the image, and over the channels, of the structural similarity.

    For a window with means a, b, variances s, t and covariance c (all over n - 1):
    (2 a b + C1) (2 c + C2) / ((a^2 + b^2 + C1) (s + t + C2)), with C1 = (0.01 * 255)^2 and C2 = (0.03 * 255)^2.

    Args:
      first: Images; pixels 0..255.
      second: Images of the same shape.

    Returns:
      One number per image in [-1, 1]; 1 for equal images.

    Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", equation 13,
    with uniform windows.
    """
    size = min(WINDOW, *first.shape[-3:-1])
    x, y = (np.moveaxis(images.astype(np.float64), -1, -3) for images in (first, second))
    mean_x, mean_y = _window_means(x, size), _window_means(y, size)
    unbiased = size**2 / max(size**2 - 1, 1)
    variance_x = unbiased * (_window_means(x * x, size) - mean_x**2)
    variance_y = unbiased * (_window_means(y * y, size) - mean_y**2)
    covariance = unbiased * (_window_means(x * y, size) - mean_x * mean_y)
    luminance = (2 * mean_x * mean_y + LUMINANCE) / (mean_x**2 + mean_y**2 + LUMINANCE)
    structure = (2 * covariance + CONTRAST) / (variance_x + variance_y + CONTRAST)
    return (luminance * structure).mean(axis=(-3, -2, -1))


def _window_means(x: Float[np.ndarray, "*lead height width"], size: int) -> Float[np.ndarray, "*lead rows columns"]:
    """Means over all windows of size x size pixels inside the image, from its integral."""
    total = np.pad(x.cumsum(axis=-1).cumsum(axis=-2), [(0, 0)] * (x.ndim - 2) + [(1, 0), (1, 0)])
    rows = total[..., size:, :] - total[..., :-size, :]
    return (rows[..., size:] - rows[..., :-size]) / size**2
