"""A pass through a whole Matryoshka network in plain NumPy, whose latents are the means of their Gaussians."""

from typing import NamedTuple

import numpy as np

from tests.models.matnet import reference
from tests.models.matnet.reference import joined, leaky, linear, plain

ACTIVATIONS = {"leaky_relu": leaky, "tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "identity": lambda x: x}
BLOCKS = {"residual": reference.residual, "projection": reference.stochastic_projection, "gru": reference.gru}
MERGES = {"residual": reference.merge, "projection": reference.merge, "gru": reference.gru_merge}


class Group(NamedTuple):
    """A latent group: means and log-variances of prior and posterior (None: generated), and its values."""

    p: tuple
    q: tuple | None
    z: np.ndarray


def bottom_up(p, plan, x):
    """What feeds the top posterior, and what every group of every level sees."""
    phi, levels = ACTIVATIONS[plan.bottom_up.activation], plan.levels
    u = plain(p["entry"], phi, x if levels[-1].size else x.reshape(len(x), -1))
    for number in range(plan.entry_layers):
        u = plain(p[f"entry{number + 1}"], phi, u)
    seen = {}
    for at in reversed(range(len(levels))):
        level = levels[at]
        if at < len(levels) - 1 and level.block == "projection":
            u = reference.projection(p[f"down{at}"], phi, u, "down")
        elif at < len(levels) - 1:
            u = plain(p[f"down{at}"], phi, u, way="down")
        if level.block == "gru" and level.groups:
            own, inputs = p[f"level{at}_features"], u
            steps = 1 if level.size else level.groups
            for _ in range(steps):
                u = plain(own, phi, u) if level.size else reference.gru(own, phi, u, inputs)
            seen[at] = [u] * level.groups
            continue
        inputs, outputs = {}, {}
        for module in reversed(range(level.groups)):
            inputs[module] = u
            own = p[f"level{at}_{module}"]
            act = ACTIVATIONS["identity"] if plan.linear_blocks and module > 0 else phi
            if level.block == "residual":
                u = reference.bottom_up_residual(own, act, u)
            else:
                u = reference.projection(own, act, u) if level.size else plain(own, act, u)
            outputs[module] = u
        seen[at] = [(outputs if level.block == "projection" else inputs)[k] for k in range(level.groups)]
    if plan.shortcut_encoder:
        beside = (
            linear(p["shortcut_out"], plain(p["shortcut"], phi, x.reshape(len(x), -1))) + p["shortcut_bias"]["bias"]
        )
        return joined(u, beside), {at: [joined(b, beside) for b in own] for at, own in seen.items()}
    return u, seen


def pass_down(params, plan, x=None, given=(), batch=1):
    """All groups, and the outputs for the likelihood, of images or (None) from the prior."""
    g, i, phi = params["generator"], params["inference"], ACTIVATIONS[plan.generator.activation]
    scale = params[plan.scale_owner]["dist_scale"] if plan.scale_owner != "none" else plan.initial_scale
    top, seen = (None, None) if x is None else bottom_up(i["bottom_up"], plan, x)
    groups, first = [], plan.levels[0].shape

    def latent(p, moments):
        q = None if moments is None else tuple(np.split(scale * moments, 2, axis=-1))
        z = given[len(groups)] if len(groups) < len(given) else (q or p)[0]
        groups.append(Group(p, q, z))
        return z

    def prior(name, h):
        zero = np.zeros((*h.shape[:-1], plan.latent_dim))
        if plan.prior == "standard":
            return zero, zero
        hidden = plain(g[f"{name}_hidden"], phi, h) if plan.prior == "mean" else h
        moments = scale * (linear(g[name], hidden) + g[f"{name}_bias"]["bias"])
        return (moments, zero) if plan.prior == "mean" else tuple(np.split(moments, 2, axis=-1))

    def decoded(h):
        for number in range(plan.exit_layers):
            h = plain(g[f"exit{number}"], phi, h)
        outputs = linear(g["outputs"], h) + g["output_bias"]["bias"]
        return outputs.reshape(len(h), *plan.image_shape[:2], plan.num_outputs)

    standard = (np.zeros((batch if x is None else len(x), plan.top_latent_dim)),) * 2
    z = latent(standard, None if x is None else reference.to_top(i["to_top"], phi, top))
    h = reference.from_top(g["top"], phi, z, first)
    s = None if x is None or not plan.stateful else reference.from_top(i["first_state"], phi, z, first)
    logits = []
    for at, level in enumerate(plan.levels):
        projected, shared = level.block == "projection" and level.size, level.block == "gru"
        if at and plan.levels[at - 1].block != "projection":
            h = plain(g[f"up{at}"], phi, h, way="up")
        if at and s is not None and level.groups:
            s = plain(i[f"up{at}"], phi, s, way="up")
        if projected and level.groups:
            h = reference.projection(g[f"pass{at}"], phi, h)
        for k in range(level.groups):
            name, moments = f"{at}_{0 if shared else k}", None
            if x is not None:
                merge = MERGES[level.block] if plan.stateful else reference.stateless_merge
                moments, s = merge(i[f"merge{name}"], phi, h, seen[at][k], s, plan.difference)
            z = latent(prior(f"prior{name}", h), moments)
            linear_block = plan.linear_blocks and k < level.groups - 1
            h = BLOCKS[level.block](g[f"block{name}"], ACTIVATIONS["identity"] if linear_block else phi, h, z)
            if plan.summed_outputs and shared and at == len(plan.levels) - 1:
                logits.append(decoded(h))
    return groups, sum(logits) if logits else decoded(h)
