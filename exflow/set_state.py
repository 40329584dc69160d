"""States of the Python API: what a model keeps of a set, and which model it was."""

import hashlib
import json
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from exflow.model import Model
from exflow.typing import Params, State


class ModelIdentity(NamedTuple):
    """What tells two models apart; equal for a model that is loaded twice."""

    name: str
    parameters: str  # digest of their names, shapes, types and values
    config: str | None  # digest of section `model` of the configuration; None: not known

    def same(self, other: "ModelIdentity") -> bool:
        """Whether both can be the same model."""
        configs = {self.config, other.config} - {None}
        return self[:2] == other[:2] and len(configs) < 2


class SetState:
    """A pytree whose structure carries the model: it passes through jit, vmap, tree.map, device_get and pickle.

    Attributes:
      content: State of the pure functions, a pytree of arrays.
      model: Of which model.
    """

    def __init__(self, content: State, model: ModelIdentity):
        """Mark a state."""
        self.content, self.model = content, model

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.content}, {self.model.name})"


jax.tree_util.register_pytree_with_keys(
    SetState,
    lambda state: (((jax.tree_util.GetAttrKey("content"), state.content),), state.model),
    lambda model, children: SetState(next(iter(children)), model),
)


def identity(model: Model, params: Params, config: ConfigDict | None) -> ModelIdentity:
    """Digest of a model; reads its parameters once, about a second per gigabyte."""
    digest = hashlib.blake2b(repr((model.image_shape, model.value_dtype, model.context_dim)).encode(), digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        value = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    section = None if config is None else json.dumps(config.model.to_dict(), sort_keys=True, default=str)
    known = None if section is None else hashlib.blake2b(section.encode(), digest_size=16).hexdigest()
    return ModelIdentity(model.name, digest.hexdigest(), known)


def content_of(state: Any, model: ModelIdentity, name: str = "state") -> State:
    """What a state holds; states of the pure functions, which carry no mark, are taken as they are.

    Raises:
      ValueError: It is of another model.
    """
    if not isinstance(state, SetState):
        return state
    if not state.model.same(model):
        other = state.model.name if state.model.name != model.name else "one with other parameters or options"
        raise ValueError(f"{name}: expected one of this model ({model.name}), got one of {other}. Use init_state.")
    return state.content
