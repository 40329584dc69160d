"""The likelihood of models of single images: encoded so many at a time, the same number as of all at once."""

import jax.numpy as jnp
import numpy as np
import pytest

from exflow.config import base_config
from exflow.evaluation import encoding, evaluate_split, validate
from exflow.evaluation.scoring import latents as latent_chunks
from exflow.models.registry import build
from tests.evaluation.toy_data import image_sets

pytestmark = pytest.mark.usefixtures("toy_families")
SETS = image_sets([4, 3], (2, 2, 1), spread=100)
RNG = np.random.default_rng(0)
PARAMS = {"encoder": RNG.normal(size=(4, 6)).astype(np.float32), "decoder": RNG.normal(size=(3, 4)).astype(np.float32)}


def test_single_images_are_never_all_encoded(monkeypatch):
    config = base_config("toy_single", imports=())
    config.model.toy_single.latent_dim = 3
    config.data.rotate = False
    config.evaluation.evaluators = ("likelihood", "importance", "latent_usage")
    config.evaluation.update(settings=(), nll_set_size=1, marginal_samples=3)
    model, kept, real = build(config, (2, 2, 1)), [], encoding.encode_images

    def encode_images(*arguments, **options):
        kept.append(real(*arguments, **options))
        return kept[-1]

    monkeypatch.setattr(encoding, "encode_images", encode_images)
    monkeypatch.setitem(latent_chunks.CHUNK_BYTES, "cpu", 1)  # an image per device and call
    entries = evaluate_split(config, model, PARAMS, SETS, "test", None, lambda line: None)
    (values,) = kept  # of all evaluators; pixels alone
    assert values.shape == (7, 2, 2, 1)
    elements = model.latents.encode_values(PARAMS, jnp.asarray(values))
    expected = -np.asarray(model.sets.log_prob(PARAMS, model.sets.init_state(PARAMS, (7,)), elements))
    np.testing.assert_allclose(entries["test_nll"]["value"], expected.mean(), rtol=1e-5)
    np.testing.assert_allclose(entries["test_nll"]["standard_error"], expected.std(ddof=1) / 7**0.5, rtol=1e-5)
    assert "test_nll_prior" not in entries  # the same, said once
    assert set(validate(config, model, PARAMS, SETS)) == {"nll", "bits_per_dim"}
