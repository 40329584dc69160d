"""Encoding a split once: values, layout, noise, devices, compilations and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from exflow.data.pipelines.augment import downscale
from exflow.evaluation import encoding, placement
from tests.evaluation.toy import toy_model, toy_params
from tests.evaluation.toy_data import image_sets

PARAMS = toy_params(4, factor=0.7)


def test_every_image_and_rotation_lands_in_its_place():
    sets, model = image_sets([3, 1, 4]), toy_model()
    elements = encoding.encode_split(model, PARAMS, None, sets, (0, 1, 2, 3), batch_size=5)
    assert elements.z.shape == (3, 4, 4, 4)
    for label in range(3):
        for rotation in range(4):
            for number in range(4):
                if number < sets.count[label]:
                    x = np.rot90(sets.images[sets.index[label, number]], rotation)
                    z = (x.reshape(-1).astype(np.float64) + 0.5 - 128) / 64 * 0.7
                    np.testing.assert_allclose(elements.z[label, rotation, number], z, rtol=1e-6)
                else:
                    assert not elements.z[label, rotation, number].any()
    np.testing.assert_allclose(elements.log_det[0, :, :3], 4 * np.log(0.7 / 64), rtol=1e-6)


def test_noise_depends_on_key_and_image_alone():
    sets, model = image_sets([3, 4]), toy_model()
    first, second = (
        encoding.encode_split(model, PARAMS, jax.random.key(1), sets, (0, 1), size).z for size in (1, 3)
    )  # one image per device and two
    np.testing.assert_array_equal(first, second)
    other = encoding.encode_split(model, PARAMS, jax.random.key(2), sets, (0, 1), 3).z
    midpoint = encoding.encode_split(model, PARAMS, None, sets, (0, 1), 3).z
    exists = np.arange(4)[None] < sets.count[:, None]
    noise = (first - midpoint)[exists[:, None].repeat(2, 1)] * 64 / 0.7 + 0.5
    assert ((noise >= -1e-4) & (noise <= 1 + 1e-4)).all()
    assert len(np.unique(noise.round(5))) > 0.9 * noise.size
    assert not np.array_equal(first, other)


def test_two_devices_encode_like_direct_calls():
    sets, model = image_sets([5]), toy_model()
    assert placement.local_mesh().size == len(jax.local_devices())
    elements = encoding.encode_split(model, PARAMS, jax.random.key(3), sets, (0,), 4)
    for number in range(5):
        direct = model.encode(PARAMS, jax.random.fold_in(jax.random.key(3), number), jnp.asarray(sets.images[number]))
        np.testing.assert_allclose(elements.z[0, 0, number], direct.z, rtol=1e-6)


def test_a_batch_without_noise_is_traced_as_one_and_encodes_each_image_alike():
    base, shapes = toy_model(), []

    def encode(params, key, x):
        shapes.append(x.shape)
        return base.encode(params, key, x)

    x = np.random.default_rng(0).integers(0, 256, (4, *base.image_shape), np.uint8)
    model = base._replace(encode=encode)
    found = encoding.encode_batch(model, PARAMS, None, np.arange(4, dtype=np.uint32), x, None)
    assert shapes == [(2, *base.image_shape)]  # of the two devices
    each = [encoding.encode_batch(base, PARAMS, None, np.zeros(2, np.uint32), x[[n, n]], None).z[0] for n in range(4)]
    np.testing.assert_array_equal(found.z, np.stack(each))


def test_compiled_once_for_all_splits():
    calls, base = [], toy_model()

    def encode(params, key, x):
        calls.append(x.shape)
        return base.encode(params, key, x)

    model = base._replace(encode=encode)
    for count in ([3, 2], [7], [1, 1, 1, 1]):
        encoding.encode_split(model, PARAMS, None, image_sets(count), (0, 1), 4)
    assert calls == [(2, 2, 2, 1)]  # two images on each device


def test_transform_gives_the_means_that_training_sees():
    sets, model = image_sets([3, 2], image_shape=(6, 6, 1), spread=60), toy_model((2, 2, 1))
    elements = encoding.encode_split(model, PARAMS, None, sets, (0,), 4, transform=encoding.downscaling(3))
    small = downscale(jnp.asarray(sets.images), 3)
    direct = model.encode(PARAMS, None, small[jnp.asarray(sets.index)])
    np.testing.assert_allclose(elements.z[0, 0], direct.z[0], rtol=1e-6)
    assert encoding.downscaling(1) is None


def test_replicate_does_not_copy_what_is_there():
    tree = placement.replicate({"a": np.arange(3.0), "b": jnp.ones(2)})
    again = placement.replicate(tree)
    assert all(x is y for x, y in zip(jax.tree.leaves(tree), jax.tree.leaves(again), strict=True))
    assert len(tree["a"].sharding.device_set) == len(jax.local_devices())


def test_wrong_images_are_refused():
    model = toy_model()
    with pytest.raises(ValueError, match=r"x: expected \[\.\.\., 2, 2, 1\], got \(3, 4, 4, 1\)"):
        encoding.encode_split(model, PARAMS, None, image_sets([3], (4, 4, 1)), (0,))
    with pytest.raises(ValueError, match="quarter turns need square images"):
        encoding.encode_split(toy_model((2, 3, 1)), toy_params(6), None, image_sets([3], (2, 3, 1)), (0, 1))
    floats = image_sets([3])._replace(images=np.zeros((3, 2, 2, 1)))
    with pytest.raises(TypeError, match="expected uint8 pixels 0..255, got float64"):
        encoding.encode_split(model, PARAMS, None, floats, (0,))


def test_models_of_vectors_take_float32_and_nothing_else():
    model = toy_model((1, 1, 3))._replace(value_dtype="float32")
    vectors = np.random.default_rng(0).normal(100, 50, (5, 1, 1, 3)).astype(np.float32)
    sets = image_sets([5], (1, 1, 3))._replace(images=vectors)
    elements = encoding.encode_split(model, toy_params(3), None, sets, (0,), 2)
    np.testing.assert_allclose(elements.z[0, 0], (vectors[:, 0, 0] + 0.5 - 128) / 64, rtol=1e-4, atol=1e-5)
    with pytest.raises(TypeError, match="x: expected float32 vectors, got uint8. Convert them"):
        encoding.check_images(model, vectors.astype(np.uint8))
    encoding.check_images(toy_model((1, 1, 3)), vectors.astype(np.uint8))


def test_encodings_are_kept_while_they_fit():
    calls = []

    def encode(draw):
        calls.append(draw)
        return {"z": np.zeros(10, np.float32)}  # 40 bytes

    kept = encoding.Encodings(encode, 3, kept_bytes=80)
    for draw in (0, 1, 0, 1, 2, None):
        kept(draw)
    assert calls == [0, 1, 2, None]
    kept(1), kept(2), kept(0)
    assert calls == [0, 1, 2, None, 0]  # the oldest went first
    one = encoding.Encodings(encode, 2, kept_bytes=0)
    one(0), one(0), one(1), one(0)
    assert calls[5:] == [0, 1, 0]
