"""Matryoshka networks in plain NumPy, written from the published description: modules, wiring, a pass down.

Parameters are those of exflow. Every function takes the part of one module; `phi` is the activation of the network.
Normalisation is by the moments of the batch where there is a gain, and a bias otherwise.
"""

import numpy as np


def leaky(x):
    return np.where(x > 0, x, 0.1 * x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def joined(*inputs):
    return np.concatenate(inputs, axis=-1)


def linear(p, *inputs, way=""):
    """A dense layer, a convolution with zeros around, one with stride two ("down"), or the adjoint of that ("up")."""
    kernel = np.concatenate(
        [p[name] for name in sorted(p) if name.startswith("kernel")], axis=-1 if way == "up" else -2
    )
    x = joined(*inputs)
    if kernel.ndim == 2:
        out = x @ kernel
    elif way == "up":
        batch, height, width, _ = x.shape
        wide = np.zeros((batch, 2 * height + 1, 2 * width + 1, kernel.shape[2]))
        for row, column in np.ndindex(3, 3):
            wide[:, row : row + 2 * height : 2, column : column + 2 * width : 2] += x @ kernel[row, column].T
        out = wide[:, 1:, 1:]
    else:
        step = 2 if way == "down" else 1
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = x.shape[1:3]
        out = sum(
            padded[:, row : row + height : step, column : column + width : step] @ kernel[row, column]
            for row, column in np.ndindex(3, 3)
        )
    return out * p["gain"] if "gain" in p else out


def norm(p, u):
    if "gain" not in p:
        return u + p["bias"]
    axes = tuple(range(u.ndim - 1))
    return p["gain"] * (u - u.mean(axes)) / np.sqrt(u.var(axes) + 1e-5) + p["bias"]


def plain(p, phi, *inputs, way=""):
    return phi(norm(p["Norm_0"], linear(p["Map_0"], *inputs, way=way)))


def from_top(p, phi, z, shape):
    out = linear(p["Map_0"], plain(p["Plain_0"], phi, z))
    out = out + linear(p["Map_1"], z) if "Map_1" in p else out
    return phi(norm(p["Norm_0"], out)).reshape(-1, *shape)


def to_top(p, phi, features):
    flat = features.reshape(len(features), -1)
    out = linear(p["Map_0"], plain(p["Plain_0"], phi, flat)) + p["Bias_0"]["bias"]
    return out + linear(p["Map_1"], flat) if "Map_1" in p else out


def bottom_up_residual(p, phi, u):
    return phi(norm(p["Norm_1"], u + norm(p["Norm_0"], linear(p["Map_0"], plain(p["Plain_0"], phi, u)))))


def projection(p, phi, u, way=""):
    a = plain(p["Plain_0"], phi, u, way="" if way == "up" else way)
    out = linear(p["Map_0"], a, way="up" if way == "up" else "") + linear(p["Map_1"], u, way=way)
    return phi(norm(p["Norm_0"], out))


def residual(p, phi, h, z):
    if h.ndim == 4:
        return phi(norm(p["Norm_0"], h + linear(p["Map_0"], plain(p["Plain_0"], phi, h, z))))
    e = phi(h + linear(p["Map_0"], z))
    return phi(norm(p["Norm_1"], e + norm(p["Norm_0"], linear(p["Map_1"], plain(p["Plain_0"], phi, e)))))


def stochastic_projection(p, phi, h, z):
    if h.ndim == 4:
        e = joined(h, z)
        a = plain(p["Plain_0"], phi, e)
        return phi(norm(p["Norm_0"], linear(p["Map_0"], a, way="up") + linear(p["Map_1"], e, way="up")))
    e = phi(h + linear(p["Map_0"], z))
    return phi(norm(p["Norm_0"], linear(p["Map_1"], plain(p["Plain_0"], phi, e)) + linear(p["Map_2"], e)))


def gru(p, phi, h, z):
    u, r = np.split(sigmoid(norm(p["Norm_0"], linear(p["Map_0"], h, z)) + 1), 2, axis=-1)
    return u * h + (1 - u) * phi(norm(p["Norm_1"], linear(p["Map_1"], r * h, z)))


def merge(p, phi, h, b, s, difference=False):
    c = joined(h, h - b, s, b) if difference else joined(h, s, b)
    s = phi(s + norm(p["Norm_0"], linear(p["Map_0"], plain(p["Plain_0"], phi, c))))
    return linear(p["Map_1"], s) + p["Bias_0"]["bias"], s


def stateless_merge(p, phi, h, b, s=None, difference=False):
    c = joined(h, h - b, b) if difference else joined(h, b)
    return linear(p["Map_0"], plain(p["Plain_0"], phi, c)) + linear(p["Map_1"], c) + p["Bias_0"]["bias"], s


def gru_merge(p, phi, h, b, s, difference=False):
    u, r = np.split(sigmoid(norm(p["Norm_0"], linear(p["Map_0"], h, s, b)) + 1), 2, axis=-1)
    s = u * s + (1 - u) * phi(norm(p["Norm_1"], linear(p["Map_1"], h, r * s, b)))
    return linear(p["Map_2"], s) + p["Bias_0"]["bias"], s
