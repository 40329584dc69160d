"""A set VAE of images with any number of channels, from a data set of one's own to pictures and the API."""

import json

import numpy as np
import pytest
from PIL import Image

import exflow
from exflow import modes
from exflow.config import base_config
from exflow.data.registry import REGISTRY, LabelledImages, known_data_sets, register
from exflow.evaluation.pictures.grids import visible

SIZE, COUNT = 28, 6


@pytest.fixture
def channels():
    """Nine classes of coarse pictures with `num_channels` channels."""

    def pictures(image_size: int = SIZE, num_channels: int = 2) -> LabelledImages:
        rng, labels = np.random.default_rng(0), np.repeat(np.arange(9, dtype=np.int32), COUNT)
        base = rng.integers(20, 236, (9, 4, 4, num_channels)).repeat(7, axis=1).repeat(7, axis=2)
        images = base[labels] + rng.integers(-20, 20, (len(labels), SIZE, SIZE, num_channels))
        return LabelledImages(images.astype(np.uint8), labels, (labels // 3).astype(np.uint8))

    before = dict(known_data_sets())
    register("channels", cache=False)(pictures)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.mark.slow  # trains
@pytest.mark.parametrize("num_channels", [2, 4])
def test_a_run_and_its_model(channels, tmp_path, num_channels):
    config = base_config("set_vae")
    tiny = dict.fromkeys(("hidden", "latent_dim", "set_latent_dim", "encoder_filters"), 4)
    tiny |= {"likelihood": "discretized_gaussian", "num_levels": 2, "block_depth": 1}
    config.update_from_flattened_dict(
        {
            "data.dataset": "channels",
            "data.options": f"num_channels={num_channels}",
            "data.pipeline": "device",
            "data.sets_per_batch": 2,
            "data.set_size": 3,
            **{f"model.set_vae.{key}": value for key, value in tiny.items()},
            "training.num_steps": 2,
            "training.evaluate_every": 2,
            "training.quick_compilation": True,
            "training.num_devices": 1,
            "evaluation.num_sample_rows": 2,
            "evaluation.settings": ((2, 1),),
            "evaluation.num_trials": 1,
        }
    )
    modes.train_and_evaluate(config, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert all(np.isfinite(entry["value"]) for entry in results.values())
    pictures = sorted((tmp_path / "samples").glob("*.png"))
    assert {"conditional", "prior", "prior_coherent"} <= {path.stem for path in pictures}
    for path in pictures:
        with Image.open(path) as image:
            assert image.mode == ("L" if num_channels == 2 else "RGB")

    model, shape = exflow.load(tmp_path), (SIZE, SIZE, num_channels)
    assert model.image_shape == shape
    x = np.random.default_rng(1).integers(0, 256, (6, *shape)).astype(np.uint8)
    state = model.update(model.update(model.init_state(), x[0]), x[1:3])
    assert np.isfinite(model.log_prob(state, x[3:])).all()
    samples = np.asarray(model.sample(state, 0, num_samples=2))
    assert (samples.shape, samples.dtype) == ((2, *shape), np.uint8)
    assert visible(samples).shape == (2, SIZE, SIZE, num_channels - 1)
    posterior = np.asarray(model.classify(support=x[:4].reshape(2, 2, *shape), query=x[4:]))
    np.testing.assert_allclose(np.exp(posterior).sum(axis=1), 1, rtol=1e-5)
    assert model.encode(x).values.shape == x.shape
