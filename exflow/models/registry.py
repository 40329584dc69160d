"""Model families by name. A fork adds one by writing a builder and one line here.

A builder takes the whole configuration and the image shape and returns a `SetModel` (see `exflow.typing`):

    def my_model(config: ConfigDict, image_shape: tuple[int, int, int]) -> SetModel:
        def init(key, batch): ...
        def loss(params, key, batch): ...      # -> scalar, {"name": scalar}
        ...
        return SetModel("my_model", image_shape, init, loss, ...)

    FAMILIES["my_model"] = my_model            # then: --config.model.family=my_model

Training, evaluation, sampling and the Python API work through `SetModel` alone, so nothing else changes. Add the model
to `tests/models/registry.py` as well: it is then tested for permutation invariance, masks and streaming updates.
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from exflow.errors import UserError
from exflow.models.bruno import bruno
from exflow.typing import SetModel

FAMILIES: dict[str, Callable[[ConfigDict, tuple[int, int, int]], SetModel]] = {"bruno": bruno}


def build(config: ConfigDict, image_shape: tuple[int, int, int]) -> SetModel:
    """Build the model that `config.model.family` names.

    Args:
      config: Complete configuration.
      image_shape: Height, width and channels of the images the model sees.

    Returns:
      The model as pure functions.

    Raises:
      UserError: No such family.
    """
    family = config.model.family
    if family not in FAMILIES:
        raise UserError(f"config.model.family: expected one of {sorted(FAMILIES)}, got {family!r}.")
    return FAMILIES[family](config, image_shape)
