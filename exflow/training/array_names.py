"""Trees of arrays by names, as checkpoints and bundled models store them: digest, and fit with a configuration."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from exflow.errors import UserError


def named_leaves(tree: Any) -> dict[str, Any]:
    """Non-empty leaves of a tree by path, "params/flow/0/kernel" (Orbax refuses empty arrays)."""
    return {name: leaf for name, leaf in all_leaves(tree).items() if np.size(leaf)}


def groups(names: Iterable[str]) -> set[str]:
    """Top-level groups of arrays, such as "params" and "opt_state"."""
    return {name.split("/")[0] for name in names}


def fitting(arrays: dict[str, Any], like: Any, path: Path) -> dict[str, Any]:
    """Arrays as `like` wants them: every one of its leaves, with its shape and dtype.

    Where JAX computes in double precision (`jax_enable_x64`) stored single precision becomes double, value by value.

    Args:
      arrays: As stored, by name.
      like: Tree of arrays or shapes.
      path: Where they are from, for messages.

    Raises:
      UserError: They do not fit; names the first differences.
    """
    wanted = named_leaves(like)
    tops = groups(wanted)

    def describe(leaf: Any) -> str:
        return "nothing" if leaf is None else f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"

    names = [*wanted, *(name for name in arrays if groups([name]) <= tops and name not in wanted)]
    found = {name: _widened(array, wanted.get(name)) for name, array in arrays.items()}
    differences = [
        f"{name}: checkpoint has {describe(found.get(name))}, config needs {describe(wanted.get(name))}"
        for name in names
        if describe(found.get(name)) != describe(wanted.get(name))
    ]
    if differences:
        more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
        advice = "Use another --workdir, or the configuration the checkpoint was made with."
        if any(_is_double(found.get(name)) and not _is_double(leaf) for name, leaf in wanted.items()):
            advice = "It was made in double precision: set JAX_ENABLE_X64=1, as it was then."
        raise UserError(
            f"{path}: checkpoint does not fit the configuration ({'; '.join(differences[:3])}{more}). {advice}"
        )
    return found


def _widened(array: Any, wanted: Any) -> Any:
    """A float32 array as float64 where that is wanted; any other as it is."""
    return array.astype(np.float64) if array.dtype == np.float32 and _is_double(wanted) else array


def _is_double(leaf: Any) -> bool:
    return leaf is not None and np.dtype(leaf.dtype) == np.float64


def all_leaves(tree: Any) -> dict[str, Any]:
    """Leaves of a tree by path; the same tree as nested dicts of strings gives the same paths."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(_key_name(key) for key in path): leaf for path, leaf in paths}


def _key_name(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True).replace("/", "|")


def described(tree: Any) -> Any:
    """The structure of a tree of dicts and tuples as JSON, leaves as "float32[3,4]"; None for any other tree."""
    if isinstance(tree, dict):
        parts = {name: described(part) for name, part in tree.items()}
        return None if any(part is None for part in parts.values()) else parts
    if isinstance(tree, tuple):
        parts = [described(part) for part in tree]
        return None if type(tree) is not tuple or any(part is None for part in parts) else parts
    if tree is None or not jax.tree_util.all_leaves([tree]):
        return None
    return f"{np.dtype(tree.dtype).name}[{','.join(map(str, tree.shape))}]"


def from_description(description: Any) -> Any:
    """The tree that was `described`, its leaves `jax.ShapeDtypeStruct`.

    Raises:
      ValueError: It describes nothing.
    """
    if isinstance(description, dict):
        return {name: from_description(part) for name, part in description.items()}
    if isinstance(description, list):
        return tuple(from_description(part) for part in description)
    found = re.fullmatch(r"(\w+)\[([\d,]*)\]", str(description))
    if found is None:
        raise ValueError(f"expected an array such as float32[3,4], got {description!r}")
    return jax.ShapeDtypeStruct([int(size) for size in found[2].split(",") if size], np.dtype(found[1]))


def nested(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Inverse of `named_leaves` for nested dicts."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = array
    return tree


def digest_of(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> str:
    """Digest of names, types, shapes, values and meta data; any changed bit changes it."""
    digest = hashlib.blake2b(json.dumps(meta, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.view(np.uint8).data if array.ndim else array.tobytes())
    return digest.hexdigest()
