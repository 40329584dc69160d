"""The small classifier of 28x28 grey images whose features stand in for Inception's where images are small.

One network for two data sets: 10 classes of MNIST and 10 of Fashion-MNIST. `python -m experiments.feature_classifier`
trains it and writes the file that comes with exflow. Its features are 64 numbers, the last layer before the logits.
"""

import functools
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, UInt8

from exflow.errors import UserError
from exflow.nn.layers import Linear
from exflow.typing import Params

IMAGE_SHAPE = (28, 28, 1)
NUM_CLASSES = 20
CHANNELS = (32, 64, 128)  # of the 3x3 convolutions, each of stride 2
DIM = 64
FILE = Path(__file__).resolve().parents[2] / "bundled" / "extractors" / "classifier_28x28.npz"


class FeatureClassifier(nn.Module):
    """Three convolutions and two dense layers."""

    @nn.compact
    def __call__(
        self, x: UInt8[Array, "images 28 28 1"]
    ) -> tuple[Float[Array, "images dim"], Float[Array, "images classes"]]:
        """Features of pixels 0..255, before their nonlinearity, and logits of the classes."""
        h = x.astype(jnp.float32) / 255
        for channels in CHANNELS:
            h = nn.relu(Linear(channels, (3, 3), 2, initialization="xavier_normal")(h))
        features = Linear(DIM, initialization="xavier_normal")(h.reshape(len(h), -1))
        return features, Linear(NUM_CLASSES, initialization="xavier_normal")(nn.relu(features))


@functools.partial(jax.jit, inline=True)
def features_and_logits(params: Params, x: UInt8[Array, "images 28 28 1"]) -> tuple[Array, Array]:
    """What the network makes of images."""
    found: Any = FeatureClassifier().apply({"params": params}, x)
    return found


def save(params: Params, path: Path = FILE) -> Path:
    """Write the parameters in half precision, without pickle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{layer}/{name}": np.asarray(leaf, np.float16)
        for layer, leaves in sorted(params.items())
        for name, leaf in sorted(leaves.items())
    }
    np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]
    return path


def load(path: Path = FILE) -> Params:
    """Parameters of a file of `save`, in single precision.

    Raises:
      UserError: It cannot be read or is another network.
    """
    like = jax.eval_shape(FeatureClassifier().init, jax.random.key(0), jnp.zeros((1, *IMAGE_SHAPE), jnp.uint8))
    try:
        with np.load(path, allow_pickle=False) as stored:
            return jax.tree_util.tree_map_with_path(
                lambda keys, leaf: stored["/".join(key.key for key in keys)].reshape(leaf.shape).astype(np.float32),
                like["params"],
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read ({error}). Install exflow again.") from error


def digest(path: Path = FILE) -> str:
    """SHA-256 of a file, in hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def description(path: Path = FILE) -> dict:
    """How the classifier was trained and how well it classifies, as `experiments.feature_classifier` wrote it."""
    return json.loads(path.with_suffix(".json").read_text())
