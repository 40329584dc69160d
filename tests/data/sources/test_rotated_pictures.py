"""Pictures of other data sets, turned."""

import numpy as np
import pytest

from exflow.data import datasets, registry
from exflow.data.registry import LabelledImages
from exflow.errors import UserError


def test_more_objects_than_images_are_refused(clean_registry, cache_dir) -> None:
    @registry.register("mnist", cache=False)
    def mnist() -> LabelledImages:
        return LabelledImages(
            np.zeros((9, 28, 28, 1), np.uint8), np.arange(9, dtype=np.int32), np.arange(9, dtype=np.uint8) // 3
        )

    with pytest.raises(UserError, match=r"rotated_mnist: expected num_test of at most 3, the images of mnist, got 4"):
        datasets.load("rotated_mnist", num_train=1, num_validation=1, num_test=4)
