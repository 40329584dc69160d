"""COIL-100: photographs of 100 objects on a turntable, from a file of the user (no package ships them)."""

import numpy as np

from exflow.data.building.options import user_path
from exflow.data.building.views import check_image_size, label_views, read_arrays, split_objects
from exflow.data.registry import LabelledImages, register
from exflow.data.resize import resize
from exflow.errors import UserError

VARIABLE = "EXFLOW_COIL"
NUM_OBJECTS, NUM_VIEWS = 100, 72
ADVICE = (
    f"an .npz file with images uint8 [{NUM_OBJECTS}, {NUM_VIEWS}, height, width, 3] and angles [{NUM_VIEWS}] in "
    "degrees; configs/conditional_bruno.py:rotated_glyphs runs without it."
)


@register("coil", cache=False)
def coil(image_size: int = 32, views: int = 36) -> LabelledImages:
    """COIL-100 from the file $EXFLOW_COIL: 70 / 10 / 20 objects of 36 or 72 colour views on a turntable.

    The file is an .npz with `images` uint8 [100, 72, height, width, 3] (object, view) and `angles` [72] in degrees; the
    usual 32x32 images are means of 4x4 pixel blocks of the 128x128 originals. Objects are held out by
    `views.split_objects` (a fixed shuffle), as there is no official split. The originals are normalised in size, so
    the scale of an object changes with the angle; some objects are near twins (toy cars, medicine packets), possibly on
    both sides of the split, and round ones hardly change with the angle.

    Args:
      image_size: Height and width; the images of the file are brought to it by averaging areas.
      views: 36 takes every second view (10 degrees apart), 72 all.

    Raises:
      UserError: If the file is missing, damaged or of other shapes, or an option is not valid.

    Source: Nene, Nayar and Murase 1996, "Columbia Object Image Library (COIL-100)", technical report CUCS-006-96. No
    open licence: made available for research purposes.
    """
    check_image_size("coil", image_size)
    if views not in (NUM_VIEWS // 2, NUM_VIEWS):
        raise UserError(f"coil: expected views of {NUM_VIEWS // 2} or {NUM_VIEWS}, got {views}.")
    path = user_path("coil", VARIABLE, "file", ADVICE)
    images, angles = read_arrays(path, "images", "angles")
    expected = (NUM_OBJECTS, NUM_VIEWS, *images.shape[2:4], 3)
    if images.dtype != np.uint8 or images.shape != expected or 0 in images.shape:
        raise UserError(
            f"{path}: expected images uint8 [{NUM_OBJECTS}, {NUM_VIEWS}, height, width, 3], got {images.dtype} "
            f"{list(images.shape)}. Correct the file or {VARIABLE}."
        )
    if angles.shape != (NUM_VIEWS,) or angles.dtype.kind not in "iuf" or not np.isfinite(angles).all():
        raise UserError(
            f"{path}: expected {NUM_VIEWS} finite angles in degrees, got {angles.dtype} {list(angles.shape)}. "
            f"Correct the file or {VARIABLE}."
        )
    step = NUM_VIEWS // views
    kept = images[:, ::step]
    resized = resize(kept.reshape(-1, *kept.shape[2:]), image_size, "area")
    turntable = resized.reshape(NUM_OBJECTS, views, *resized.shape[1:])
    return label_views(turntable, angles[::step].astype(np.float64), split_objects("coil", NUM_OBJECTS))
