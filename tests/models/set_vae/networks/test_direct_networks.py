"""Encoder, blocks, hierarchy and decoder of the direct set VAEs against their formulas in plain NumPy.

All parameters and running statistics are random, and every oracle reads them from one dictionary: kernel and bias of a
layer; gain, bias, mean and variance of a normalisation. Sources: Giannone & Winther 2022, arXiv:2110.12279, and its
public code; Edwards & Storkey 2017, arXiv:1606.02185.
"""

import jax
import numpy as np
import pytest
from flax import traverse_util

from exflow.core.latents.trace import Noise
from exflow.models.set_vae.networks.blocks import BlockStyle, Fusion, PostPool, ResidualBlock
from exflow.models.set_vae.networks.decoder import ImageDecoder
from exflow.models.set_vae.networks.direct_hierarchy import DirectHierarchy, EncoderFeatures
from exflow.models.set_vae.networks.encoder import ConvEncoder

MASK = np.array([[True, True, True], [False, True, False]])
HIDDEN, SET_LATENT_DIM, LATENT_DIM, FILTERS = 8, 2, 3, 2
FLAT = BlockStyle(HIDDEN)
MAPS = BlockStyle(HIDDEN, maps=True, head_normalization="batch")
STYLES = pytest.mark.parametrize("style", [FLAT, MAPS], ids=["flat", "maps"])
IMAGES = pytest.mark.parametrize(("style", "size"), [(FLAT, 28), (MAPS, 64)], ids=["flat", "maps"])


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def dense(v, x):
    return x @ v["kernel"] + v["bias"]


def conv(v, x, stride=1, padding=1):
    """3x3 convolution of [..., height, width, channels]."""
    x = np.pad(x, [(0, 0)] * (x.ndim - 3) + [(padding, padding)] * 2 + [(0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(-3, -2))[..., ::stride, ::stride, :, :, :]
    return np.einsum("...hwcuv,uvcd->...hwd", windows, v["kernel"]) + v["bias"]


def transposed(v, x):
    """Transposed convolution with 2x2 kernel and stride 2."""
    out = np.zeros((*x.shape[:-3], 2 * x.shape[-3], 2 * x.shape[-2], v["bias"].size))
    for row, column in np.ndindex(2, 2):
        out[..., row::2, column::2, :] = x @ v["kernel"][row, column] + v["bias"]
    return out


def norm(v, x, batch=None, whole=False):
    """Of every channel or the whole array; moments are those of the elements `batch`, or None: the running ones."""
    axis, epsilon = (None, 1e-3) if whole else (tuple(range(x.ndim - MASK.ndim)), 1e-5)  # x[batch] has one axis less
    mean, variance = (v["mean"], v["variance"]) if batch is None else (x[batch].mean(axis), x[batch].var(axis))
    return (x - mean) / np.sqrt(variance + epsilon) * v["gain"] + v["bias"]


def hidden_layer(v, x, batch=None):
    return elu(norm(v["Normalization_0"], dense(v["Linear_0"], x), batch))


def residual_block(v, x, maps, batch=None):
    hidden = x
    for index in range(3):
        hidden = (conv if maps else dense)(v[f"Linear_{index}"], hidden)
        hidden = norm(v[f"Normalization_{index}"], hidden, batch)
        hidden = hidden if index == 2 else elu(hidden)
    return elu(x + hidden)


def head(v, x, maps, batch=None):
    """Mean and log-variance; those of vectors have one common normalisation."""
    return np.split(norm(v["Normalization_0"], dense(v["Linear_0"], x), batch, whole=not maps), 2, axis=-1)


def post_pool(v, x, maps, batch=None):
    if maps:
        x = residual_block(v["block"], x, maps, batch)
    else:
        x = hidden_layer(v["HiddenLayer_1"], hidden_layer(v["HiddenLayer_0"], x, batch), batch)
    return head(v["head"], x, maps, batch)


def fusion(v, film=False, **inputs):
    """ELU(W_h h + W_z z + W_c c), or ELU(gamma (W_h h + W_z z) + beta); c is [batch, ...]."""
    terms = {name: dense(v[name], x) for name, x in inputs.items() if x is not None}
    if "c" in terms:
        terms["c"] = terms["c"][:, None]
    if not film:
        return elu(sum(terms.values()))
    gamma, beta = np.split(terms.pop("c"), 2, axis=-1)
    return elu(gamma * sum(terms.values()) + beta)


def element_network(v, maps, film, **inputs):
    fused = fusion(v["fusion"], film, **inputs)
    return head(v["head"], residual_block(v["blocks"]["ResidualBlock_0"], fused, maps), maps)


def set_mean(x):
    return np.stack([elements[exists].mean(axis=0) for elements, exists in zip(x, MASK, strict=True)])


def attention(v, x):
    """Four heads, asked by the mean of the set; of vectors."""
    query, keys, values = dense(v["query"], set_mean(x)), dense(v["key"], x), dense(v["value"], x)
    logits = (query[:, None] * keys).reshape(*MASK.shape, 4, -1).sum(axis=-1) / np.sqrt(HIDDEN / 4)
    weights = np.exp(logits) * MASK[..., None]
    return ((weights / weights.sum(axis=1, keepdims=True)).repeat(HIDDEN // 4, axis=-1) * values).sum(axis=1)


def set_network(v, name, maps, attends, h, c, z):
    """Gaussian of c_l given h, c and z: the top has h alone and the prior no h."""
    features, skip = h, 0.0
    if z is not None:
        skip = dense(v[f"{name}_c"], c)
        features = dense(v[f"{name}_z"], z) + skip[:, None] + (0 if h is None else dense(v[f"{name}_h"], h))
        if not (maps or attends):
            features = residual_block(v[f"{name}_block"], elu(features), maps)
    pooled = attention(v[f"{name}_aggregator"], features) if attends else set_mean(features) + skip
    return post_pool(v[name], pooled, maps)


def latents(v, module, features):
    """Prior and posterior of all latents, each the mean of its Gaussian, top first; c before z."""
    c, z, found, maps, film = None, None, [], module.style.maps, module.film
    for level in range(module.num_levels):
        if level < {"none": 0, "top": 1, "all": module.num_levels}[module.set_latent_levels]:
            name, p, q = f"context_{level}", [np.zeros((2, *module.map_size, SET_LATENT_DIM))] * 2, None
            if level > 0:
                p = set_network(v, f"{name}_prior", maps, module.prior_aggregation == "attention", None, c, z)
            if features:
                attends = module.aggregation == "attention"
                q = set_network(v, f"{name}_posterior", maps, attends, features.of_set, c, z)
            c = (q or p)[0]
            found.append((p, q))
        name, p, q = f"element_{level}", [np.zeros((*MASK.shape, *module.map_size, LATENT_DIM))] * 2, None
        if c is not None or z is not None:
            prior = element_network(v[f"{name}_prior"], maps, film, z=z, c=c)
            p = [part + zeros for part, zeros in zip(prior, p, strict=True)]  # at the top one for the whole set
        if features:
            q = element_network(v[f"{name}_posterior"], maps, film, h=features.of_example, z=z, c=c)
        z = (q or p)[0]
        found.append((present(p), present(q)))
    return found


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def run(module, inputs, **options):
    """Output of a module with random variables, and these with running statistics beside the parameters."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        positive = path[-1].key in ("gain", "variance")
        return np.asarray(rng.uniform(0.5, 1.5, leaf.shape) if positive else rng.normal(0.0, 0.3, leaf.shape))

    def apply(variables, inputs):
        return module.apply(variables, **inputs, **options, mutable=["batch_stats"])[0]

    shapes = jax.eval_shape(lambda inputs: module.init(jax.random.key(0), **inputs, **options), inputs)
    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    flat = [traverse_util.flatten_dict(collection) for collection in variables.values()]
    merged = traverse_util.unflatten_dict({path: leaf for part in flat for path, leaf in part.items()})
    return jax.jit(apply)(variables, inputs), merged


def present(tree):
    """The elements that exist."""
    return [leaf[MASK] for leaf in jax.tree.leaves(tree)]


def assert_close(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@IMAGES
def test_encoder_is_nine_convolutions_and_a_projection(x64, style, size):
    hidden = normal(2, 3, size, size, 1)
    found, v = run(ConvEncoder(style, FILTERS), {"x": hidden, "mask": MASK}, train=False)
    if size == 64:
        hidden = sum(hidden[..., row::2, column::2, :] for row, column in np.ndindex(2, 2)) / 4
    for index in range(9):
        hidden = conv(v["stack"][f"Linear_{index}"], hidden, stride=2 if index % 3 == 2 else 1)
        hidden = elu(norm(v["stack"][f"Normalization_{index}"], hidden))
    assert hidden.shape == (2, 3, 4, 4, 4 * FILTERS)
    expected = hidden_layer(v["projection"], hidden if style.maps else hidden.reshape(2, 3, -1))
    assert_close(found, EncoderFeatures(expected, expected))


@pytest.mark.parametrize("train", [False, True])
@STYLES
def test_residual_block_and_post_pool(x64, style, train):
    x = normal(2, 3, *((3, 2) if style.maps else ()), HIDDEN)
    x[~MASK] += 9.0  # would change the moments of a batch
    modules = (ResidualBlock(style, 3), residual_block), (PostPool(style, LATENT_DIM, style.maps), post_pool)
    for module, oracle in modules:
        found, v = run(module, {"x": x, "mask": MASK}, train=train)
        assert_close(present(found), present(oracle(v, x, style.maps, MASK if train else None)))


@pytest.mark.parametrize("film", [False, True])
@STYLES
def test_fusion_of_the_inputs_that_are_there(x64, style, film):
    space = (3, 2) if style.maps else ()
    inputs = {
        "h": normal(2, 3, *space, 5),
        "z": normal(2, 3, *space, LATENT_DIM),
        "c": normal(2, *space, SET_LATENT_DIM),
    }
    module = Fusion(style, tuple((name, x.shape[-1]) for name, x in inputs.items()), film)
    for names in ["hzc", "zc", "hc", "c"] + ([] if film else ["hz", "z", "h"]):
        given = {name: x if name in names else None for name, x in inputs.items()}
        found, v = run(module, given)
        expected = fusion(v, film, **given)
        assert_close(found, expected[:, 0] if names == "c" else expected)  # without elements one for the set


MODELS = {
    "VAE": {"set_latent_levels": "none"},
    "NS": {"set_latent_levels": "top"},
    "HFSGM": {"num_levels": 3},
    "CHFSGM": {"style": MAPS, "residual_post_pool": True, "map_size": (2, 2)},
    "attention in posteriors": {"aggregation": "attention", "film": True},
    "attention in priors": {"prior_aggregation": "attention", "film": True},
}


# The others differ in one thing each
SLOW = ("NS", "HFSGM", "attention in posteriors")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MODELS])
def test_gaussians_of_all_latents(x64, name):
    common = {"style": FLAT, "set_latent_levels": "all", "num_levels": 2}
    module = DirectHierarchy(set_latent_dim=SET_LATENT_DIM, latent_dim=LATENT_DIM, **common | MODELS[name])
    h = normal(*MASK.shape, *module.map_size, HIDDEN)
    features = None if name == "attention in priors" else EncoderFeatures(h, h**2)  # None draws from the prior
    trace, v = run(module, {"mask": MASK, "features": features}, noise=Noise(None))
    found = []
    for of_set, of_examples, _ in trace.levels:
        found += [] if of_set is None else [(of_set.p, of_set.q)]
        found += [(present(of_examples.p), present(of_examples.q))]
    assert_close(found, latents(v, module, features))


@IMAGES
def test_decoder_projects_convolves_and_doubles(x64, style, size):
    space = (4, 4) if style.maps else ()
    z, c = normal(2, 3, *space, 9), normal(2, *space, 6)
    decoder = ImageDecoder(style, size, num_outputs=3, set_latent_dim=6, filters=FILTERS)
    found, v = run(decoder, {"example_inputs": z, "set_inputs": c, "mask": MASK}, train=False)
    stack, hidden = v["stack"], dense(v["projection"], fusion(v["fusion"], z=z, c=c))
    hidden = hidden.reshape(2, 3, 4, 4, 4 * FILTERS)
    for index in range(9):
        stage, place = divmod(index, 3)
        if place == 2:
            hidden = transposed(stack[f"Doubling_{stage}"], hidden)
        else:
            padding = 0 if size == 28 and index == 7 else 1  # 16 to 14
            hidden = conv(stack[f"Linear_{2 * stage + place}"], hidden, padding=padding)
        hidden = elu(norm(stack[f"Normalization_{index}"], hidden))
    hidden = hidden.repeat(2, axis=-3).repeat(2, axis=-2) if size == 64 else hidden
    assert hidden.shape == (2, 3, size, size, FILTERS)
    assert_close(found, dense(stack["output"], hidden))
