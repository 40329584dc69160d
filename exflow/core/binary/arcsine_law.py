"""Correlations of Gaussians from moments of their signs, and back, by the arcsine law.

For Gaussians a, b with mean 0, variance 1 and correlation h, E[sign a sign b] = 2 / pi arcsin h. A vector of signs
whose means are not 0 gets one more sign, which is always +1: with the moments D = E[x x^T] and m = E[x] in one matrix
G = [[D, m], [m^T, 1]] and Gaussian correlations H = sin(pi G / 2), the draws x_i = sign(a_i) sign(a_last) have exactly
these moments, if H is positive semidefinite.
"""

import numpy as np
from jaxtyping import Float64

from exflow.core.binary.moments import BinaryMoments


def augmented(moments: BinaryMoments) -> Float64[np.ndarray, "dim dim"]:
    """G, of the bits and one that is always set: dim = bits + 1."""
    dim = len(moments.mean) + 1
    matrix = np.ones((dim, dim))
    matrix[:-1, :-1] = moments.second
    matrix[:-1, -1] = matrix[-1, :-1] = moments.mean
    return matrix


def moments_of_augmented(matrix: Float64[np.ndarray, "dim dim"]) -> BinaryMoments:
    """Inverse of `augmented`."""
    return BinaryMoments(matrix[:-1, -1], matrix[:-1, :-1])


def gaussian_correlation(sign_moments: Float64[np.ndarray, "dim dim"]) -> Float64[np.ndarray, "dim dim"]:
    """sin(pi / 2 E[s s^T]), in [-1, 1]."""
    return np.sin(np.pi / 2.0 * sign_moments)


def sign_moments(correlation: Float64[np.ndarray, "dim dim"]) -> Float64[np.ndarray, "dim dim"]:
    """2 / pi arcsin(h), the inverse; correlations beyond 1 by rounding are 1."""
    return 2.0 / np.pi * np.arcsin(np.clip(correlation, -1.0, 1.0))
