"""Pictures of models of codes: which files, how large, and that grey values are those of the images."""

import numpy as np
import pytest
from PIL import Image

from exflow.config import base_config
from exflow.errors import UserError
from exflow.evaluation.pictures.code_pictures import (
    COLUMNS,
    draw_edits,
    draw_interpolations,
    draw_samples,
    write_code_pictures,
)
from tests.evaluation.bright import bright_model, fitted_codes
from tests.evaluation.toy_data import image_sets

SETS = image_sets([4, 3], (2, 2, 1), spread=100)
CELL = 57  # of a picture enlarged to 56 pixels, and a line


def written(tmp_path, *draw, **sampling):
    config = base_config("lbae")
    config.evaluation.num_sample_rows = 2
    config.sampling.update(sampling)
    lines = []
    paths = write_code_pictures(
        config, tmp_path, bright_model(), {}, SETS, None, fitted_codes(), lines.append, draw or (draw_samples,)
    )
    assert lines == [f"{paths[0].name} in {tmp_path / 'samples'}"]
    with Image.open(paths[0]) as picture:
        return paths[0], np.asarray(picture)


def cells(picture, columns, top=0):
    """Middles of cells, [rows, columns, 2, 2]."""
    rows = (len(picture) - top) // CELL
    starts = [top + 1 + CELL * row + offset for row in range(rows) for offset in (14, 42)]
    lefts = [1 + CELL * column + offset for column in range(columns) for offset in (14, 42)]
    return picture[np.ix_(starts, lefts)].reshape(rows, 2, columns, 2).swapaxes(1, 2)


def shown(images):
    """As pictures of a split that is dark are shown."""
    return 255 - images if SETS.images.mean() < 127.5 else images


def test_samples_one_by_one(tmp_path):
    path, picture = written(tmp_path, method="cov", num_images=3)
    assert path == tmp_path / "samples" / "cov.png"
    found = cells(picture, COLUMNS)
    assert set(np.unique(found)) == {0, 255}
    for number in range(3):
        with Image.open(tmp_path / "samples" / "cov" / f"{number}.png") as single:
            np.testing.assert_array_equal(shown(np.asarray(single)), found[0, number])


def test_ways_from_image_to_image(tmp_path):
    path, picture = written(tmp_path, draw_interpolations, steps=4)
    assert path.name == "interpolations.png"
    found, images = cells(picture, 6, top=14), shown(SETS.images[..., 0])
    np.testing.assert_array_equal(found[:, 0], images[[0, 2]])  # 4 of 7, evenly spread
    np.testing.assert_array_equal(found[:, 5], images[[4, 6]])
    np.testing.assert_array_equal(found[:, 1], shown(np.where(SETS.images[[0, 2], ..., 0] >= 128, 255, 0)))
    np.testing.assert_array_equal(found[:, 4], shown(np.where(SETS.images[[4, 6], ..., 0] >= 128, 255, 0)))


@pytest.mark.parametrize(("strength", "corner"), [(1.0, 255), (-1.0, 0)])
def test_attributes_by_and_by(tmp_path, strength, corner):
    path, picture = written(tmp_path, draw_edits, attribute="left", steps=3, strength=strength)
    assert path.name == "edits_left.png"
    found = cells(picture, 4, top=14)
    np.testing.assert_array_equal(found[:, -1, 1, 1], shown(np.uint8(corner)))  # the fourth bit
    np.testing.assert_array_equal(found[:, -1, 0], found[:, 1, 0])  # what is decoded, elsewhere


def test_errors_are_one_line(tmp_path):
    with pytest.raises(UserError, match="attribute: expected one of left, 0, 1, got ''"):
        written(tmp_path, draw_edits)
    config = base_config("lbae")
    with pytest.raises(UserError, match="bright: its sampler is not fitted"):
        write_code_pictures(config, tmp_path, bright_model(), {}, SETS, None, None)
    bare = bright_model()._replace(sampler=bright_model().sampler._replace(interpolate=None))
    with pytest.raises(UserError, match="bright: has no ways between codes"):
        write_code_pictures(config, tmp_path, bare, {}, SETS, None, fitted_codes(), draw=(draw_interpolations,))
