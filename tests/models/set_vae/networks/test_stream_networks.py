"""Encoder and decoder of the streams: runs of blocks, scanned or unrolled, against one block after the other."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.models.set_vae.networks.bottleneck import Bottleneck, conv
from exflow.models.set_vae.networks.pyramid_encoder import PyramidEncoder
from exflow.models.set_vae.networks.stream_decoder import StreamDecoder
from exflow.models.set_vae.networks.stream_layout import mean_pool, per_block, resize_nearest
from tests.models.parameters import in_float64, random_like

WIDTH = 4
MASK = jnp.ones((1, 2), bool)


def normal(*shape):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape))


def random(module, *args):
    """Random parameters in float64, biases and last layers included."""
    shapes = jax.eval_shape(lambda key: module.init(key, *args, False)["params"], jax.random.key(0))
    return in_float64(random_like(shapes))


def blocks_in_order(params):
    """Function (x, run, place, resolution) of a single block of a run."""

    def apply(x, run, place, resolution):
        block = Bottleneck(WIDTH, WIDTH, resolution, residual=True)
        return block.apply({"params": jax.tree.map(lambda leaf: leaf[place], params[run])}, x)

    return apply


def test_encoder_halves_after_the_first_block_of_a_resolution(x64):
    x = normal(1, 2, 28, 28, 1)
    modules = {loop: PyramidEncoder(WIDTH, (32, 32, 8, 8, 8), (32, 8), loop) for loop in ("scan", "unroll")}
    params = random(modules["scan"], x, MASK)

    @jax.jit
    def expected(params):
        block = blocks_in_order(params)
        hidden = conv(WIDTH, 3).apply({"params": params["input"]}, resize_nearest(x, 32))
        fine = block(block(hidden, "blocks_32_to_32", 0, 32), "blocks_32_to_32", 1, 32)
        coarse = mean_pool(block(fine, "blocks_32_to_8", 0, 8), 8)
        return {32: fine, 8: block(block(coarse, "blocks_8_to_8", 0, 8), "blocks_8_to_8", 1, 8)}

    for module in modules.values():
        found = jax.jit(lambda params, module=module: module.apply({"params": params}, x, MASK, False))(params)
        chex.assert_trees_all_close(found, expected(params), rtol=1e-10)


def test_encoder_keeps_the_maps_that_levels_read():
    """A drawing takes 44 KB at the published size; maps of all resolutions would take 699."""
    encoder = PyramidEncoder(128, per_block("32-9,16-6,8-6,4-6,2-3,1-3"), per_block("8-6,4-6,2-3,1-3"))
    x = jax.ShapeDtypeStruct((1, 1, 28, 28, 1), jnp.float32)
    maps, _ = jax.eval_shape(lambda x: encoder.init_with_output(jax.random.key(0), x, MASK[:, :1], False), x)
    assert set(maps) == {8, 4, 2, 1}
    assert sum(leaf.size * leaf.dtype.itemsize for leaf in maps.values()) == 4 * 128 * (64 + 16 + 4 + 1)


def test_decoder_doubles_after_the_first_block_of_a_resolution(x64):
    elements, stream = normal(1, 2, 4, 4, WIDTH), normal(1, 4, 4, WIDTH)
    modules = {loop: StreamDecoder(WIDTH, (4, 4, 8), 7, 3, block_loop=loop) for loop in ("scan", "unroll")}
    params = random(modules["scan"], elements, stream, MASK)

    @jax.jit
    def expected(params):
        block = blocks_in_order(params)
        corner = conv(WIDTH, 3).apply({"params": params["context"]}, stream[:, :1, :1])
        hidden = conv(WIDTH, 3).apply({"params": params["element"]}, elements) + corner[:, None]
        hidden = block(block(hidden, "blocks_4_to_4", 0, 4), "blocks_4_to_4", 1, 4)
        hidden = resize_nearest(block(hidden, "blocks_4_to_8", 0, 8), 8)
        return conv(3).apply({"params": params["output"]}, hidden[..., :7, :7, :])  # 8 rows to 7

    for module in modules.values():
        apply = jax.jit(lambda params, module=module: module.apply({"params": params}, elements, stream, MASK, False))
        np.testing.assert_allclose(apply(params), expected(params), rtol=1e-10)


def test_what_the_decoder_sees_of_the_stream_of_the_set(x64):
    elements, stream = normal(1, 2, 2, 2, WIDTH), normal(1, 2, 2, WIDTH)
    others = stream.at[:, 0, 1].add(1.0).at[:, 1, 1].add(-1.0)  # same corner, same mean
    for kind, changes in (("corner", False), ("mean", False), ("map", True)):
        module = StreamDecoder(WIDTH, (2,), 2, 1, kind)
        params = random(module, elements, stream, MASK)
        apply = jax.jit(
            lambda c, module=module, params=params: module.apply({"params": params}, elements, c, MASK, False)
        )
        before = apply(stream)
        assert (np.abs(apply(others) - before).max() > 1e-9) == changes
        assert np.abs(apply(stream.at[:, 0, 0].add(1.0)) - before).max() > 1e-3
    with pytest.raises(ValueError, match="set_stream: expected one of"):
        random(StreamDecoder(WIDTH, (2,), 2, 1, "pixel"), elements, stream, MASK)
