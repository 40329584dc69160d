"""Model families by name. A fork adds one by writing a builder and one line here.

A builder takes the whole configuration and the image shape and returns a `Model` (see `exflow.model`):

    def my_model(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
        def init(key, batch): ...
        def loss(params, key, batch): ...      # -> Loss(scalar, {"name": scalar})
        def encode(params, key, x, context=None): ...      # every image on its own
        return Model("my_model", image_shape, init, loss, encode, sets=..., latents=...)      # what it is capable of

    FAMILIES["my_model"] = my_model
    register_family("my_model", Family(model={"units": 8}))    # of exflow.config.families: its keys

then `base_config("my_model", imports=("my_module",))` in a config file.

Training, evaluation, sampling and the Python API ask for capabilities alone, so nothing else changes; two complete
families stand in `tests/families`. A model of sets in `tests/models/registry.py` is tested for permutation invariance,
masks and streaming updates.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from exflow.errors import UserError
from exflow.model import Model
from exflow.typing import Batch, Params


def bruno(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
    """See `exflow.models.bruno`."""
    from exflow.models.bruno.model import bruno as build_bruno  # a family is imported when a model of it is built

    return build_bruno(config, image_shape)


def set_vae(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
    """See `exflow.models.set_vae`."""
    from exflow.models.set_vae.model import set_vae as build_set_vae

    return build_set_vae(config, image_shape)


def matnet(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
    """See `exflow.models.matnet`."""
    from exflow.models.matnet.model import matnet as build_matnet

    return build_matnet(config, image_shape)


def lbae(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
    """See `exflow.models.lbae`."""
    from exflow.models.lbae.model import lbae as build_lbae

    return build_lbae(config, image_shape)


FAMILIES: dict[str, Callable[[ConfigDict, tuple[int, int, int]], Model]] = {
    "bruno": bruno,
    "lbae": lbae,
    "matnet": matnet,
    "set_vae": set_vae,
}
MAX_BUILT = 16
_BUILT: dict[tuple[Callable, str, tuple[int, int, int]], Model] = {}  # the last models, by what they were built from


def build(config: ConfigDict, image_shape: tuple[int, int, int]) -> Model:
    """Build the model that `config.model.family` names.

    Equal configurations share one model, and with it what was compiled for it: training with evaluation, two loads of
    a working directory.

    Args:
      config: Complete configuration. It may be changed afterwards; the model stays as it is.
      image_shape: Height, width and channels of the images the model sees.

    Returns:
      The model as pure functions.

    Raises:
      UserError: No such family.
    """
    family = config.model.family
    if family not in FAMILIES:
        raise UserError(f"config.model.family: expected one of {sorted(FAMILIES)}, got {family!r}.")
    key = (FAMILIES[family], repr(config.to_dict()), image_shape)
    if key not in _BUILT:
        if len(_BUILT) == MAX_BUILT:
            del _BUILT[next(iter(_BUILT))]
        _BUILT[key] = FAMILIES[family](ConfigDict(config.to_dict()).lock(), image_shape)
    return _BUILT[key]


def params_like(model: Model, config: ConfigDict) -> Params:
    """Shapes and types of the parameters, without computing anything."""
    shape = (config.data.sets_per_batch, config.data.set_size)

    def init() -> Params:
        x_set = jnp.zeros((*shape, *model.image_shape), model.value_dtype)
        context = jnp.zeros((*shape, model.context_dim)) if model.context_dim else None
        batch = Batch(x_set, jnp.ones(shape, jnp.bool_), jnp.zeros(shape[:1], jnp.int32), context)
        return model.init(jax.random.key(0), batch)

    return jax.eval_shape(init)


def num_parameters(params: Params) -> int:
    """Trainable numbers, running averages left out."""
    trained = (
        {name: part for name, part in params.items() if name != "statistics"} if isinstance(params, dict) else params
    )
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(trained))
