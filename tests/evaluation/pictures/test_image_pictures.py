"""Pictures of models of single images: samples, reconstructions, and rows that share latents."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from exflow.config import base_config
from exflow.core.latents import diagonal_gaussian, trace
from exflow.evaluation.pictures.image_pictures import COLUMNS
from exflow.evaluation.pictures.sample_files import write_samples
from exflow.models.registry import build
from tests.evaluation.toy_data import image_sets

pytestmark = pytest.mark.usefixtures("toy_families")
LINE, CELL = 1, 56  # pixels between cells, and of a cell


def given_or_drawn(params, key, given):
    """Two groups of one unit: the first makes the image bright, the second nothing."""
    p = diagonal_gaussian.standard((*given[0].shape[:2], 1))
    latents = [trace.Latent(value, p) for value in (*given, trace.draw(trace.Noise(key), p, 1, trace.EXAMPLE))[:2]]
    outputs = jnp.broadcast_to(latents[0].value[..., None, None], (*given[0].shape[:2], 2, 2, 1))
    return trace.TopDown(tuple(trace.Level(None, latent) for latent in latents), outputs, None), outputs


def generated(params, key, shape, set_latents=None, means=(), num_levels=None):
    p = diagonal_gaussian.standard((*shape, 1))
    return given_or_drawn(params, key, (trace.draw(trace.Noise(key), p, 0, trace.EXAMPLE),))


def cells(path, rows):
    """Pixels of the cells of a picture without margin, [row, column, y, x]."""
    with Image.open(path) as image:
        pixels = np.asarray(image)[LINE:, -(COLUMNS * (CELL + LINE)) :]
    return pixels.reshape(rows, CELL + LINE, COLUMNS, CELL + LINE).swapaxes(1, 2)[..., :CELL, :CELL]


def test_files(tmp_path):
    config, lines = base_config("toy_single"), []
    config.evaluation.num_sample_rows = 2
    model = build(config, (2, 2, 1))
    model = model._replace(latents=model.latents._replace(generate=generated, regenerate=given_or_drawn))
    sets = image_sets([3, 5])
    params = {"encoder": jnp.zeros((4, 4)), "decoder": jnp.zeros((2, 4))}
    written = write_samples(config, tmp_path, model, params, sets, None, lines.append)
    assert [path.name for path in written] == ["prior.png", "reconstructions.png", "top_1_frozen.png"]
    assert lines == [f"3 pictures in {tmp_path / 'samples'}"]
    frozen = cells(written[2], 2)
    assert np.array_equal(frozen, np.broadcast_to(frozen[:, :1], frozen.shape))  # the columns of a row agree
    assert (frozen[0] != frozen[1]).any()
    pairs = cells(written[1], 4)
    inverted = np.asarray(sets.images).mean() < 127.5
    shown = 255 - pairs[0, 0] if inverted else pairs[0, 0]
    np.testing.assert_array_equal(shown[:: CELL // 2, :: CELL // 2], np.asarray(sets.images)[0, ..., 0])
    assert (np.abs(pairs[1::2].astype(int) - 128) <= 1).all()  # a decoder of zeros says one half everywhere
