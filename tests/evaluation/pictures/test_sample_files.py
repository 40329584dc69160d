"""Which pictures a model gives: of a sampler without sets a grid, of others an error that says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from exflow.config import base_config
from exflow.errors import UserError
from exflow.evaluation.pictures.code_pictures import COLUMNS
from exflow.evaluation.pictures.sample_files import write_samples
from exflow.model import CodeFunctions, FittedCodes, Sampler
from tests.evaluation.toy import toy_model, toy_params
from tests.evaluation.toy_data import image_sets


def draw(fitted, key, num, method):
    return np.asarray(fitted["brightness"] + jax.random.randint(key, (num, 1), 0, 2))


CODES = CodeFunctions(
    length=1,
    encode=lambda params, x: x[..., 0, 0, :],
    decode=lambda params, code: jnp.broadcast_to(code[:, None, None], (len(code), 2, 2, 1)).astype(jnp.uint8),
    binary=False,
)
SAMPLER = Sampler(("uniform",), lambda codes, method: {"brightness": codes.mean()}, draw)
MODEL = toy_model()._replace(sets=None, process=None, codes=CODES, sampler=SAMPLER)


def test_samples_of_what_was_fitted(tmp_path):
    config, lines = base_config("bruno"), []
    config.evaluation.num_sample_rows = 3
    fitted, params = FittedCodes(lambda method: {"brightness": np.array(200)}, None), toy_params(4)
    (path, _) = write_samples(config, tmp_path, MODEL, params, image_sets([2]), None, lines.append, fitted)
    assert path == tmp_path / "samples" / "uniform.png"
    with Image.open(path) as image:
        assert image.size == (COLUMNS * 57 + 1, 3 * 57 + 1)
        assert {200, 201} <= set(np.unique(np.asarray(image)))
    assert lines == [f"uniform.png, reconstructions.png in {tmp_path / 'samples'}"]
    with pytest.raises(UserError, match="toy: its sampler is not fitted. Finish training first"):
        write_samples(config, tmp_path, MODEL, params, image_sets([2]))
    with pytest.raises(UserError, match="toy: draws no samples"):
        write_samples(config, tmp_path, MODEL._replace(sampler=None), params, image_sets([2]))
