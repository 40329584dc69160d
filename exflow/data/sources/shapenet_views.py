"""ShapeNet renders from all sides, the data of Conditional BRUNO, from a folder of the user (no package ships them)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from exflow.data.building.options import check_choice, user_path
from exflow.data.building.pictures import numeric_order
from exflow.data.building.views import DEGREES, NUM_VIEWS, check_image_size, label_views, read_arrays, split_objects
from exflow.data.registry import LabelledImages, register
from exflow.errors import UserError

VARIABLE = "EXFLOW_SHAPENET_VIEWS"
PLANES_CHAIRS = {"aeroplane": "02691156", "chair": "03001627"}  # WordNet numbers
TWELVE = PLANES_CHAIRS | {
    "bench": "02828884",
    "cabinet": "02933112",
    "car": "02958343",
    "display": "03211117",
    "lamp": "03636649",
    "speaker": "03691459",
    "sofa": "04256520",
    "table": "04379243",
    "telephone": "04401088",
    "boat": "04530566",
}
CATEGORIES = {"planes_chairs": PLANES_CHAIRS, "twelve": TWELVE}
ADVICE = (
    f"a folder with, for each category (such as {PLANES_CHAIRS['chair']}), NUMBER.npz of images uint8 [objects, "
    f"{NUM_VIEWS}, height, width] or a tree NUMBER/OBJECT/*.png; configs/conditional_bruno.py:rotated_glyphs runs "
    "without it."
)


def _grey(picture: Image.Image, image_size: int) -> UInt8[np.ndarray, "image_size image_size"]:
    """A picture on white, grey, resized by Lanczos where it has another size."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert("L")
    if picture.size != (image_size, image_size):
        picture = picture.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _from_archive(path: Path, image_size: int) -> Iterator[UInt8[np.ndarray, "36 image_size image_size"]]:
    """The views of every object of an .npz file, in its order."""
    (images,) = read_arrays(path, "images")
    shape = images.shape
    channels = shape[4] if len(shape) == 5 else 1
    if images.dtype != np.uint8 or len(shape) not in (4, 5) or shape[1] != NUM_VIEWS or channels not in (1, 3, 4):
        expected = f"uint8 [objects, {NUM_VIEWS}, height, width] or with 1, 3 or 4 channels behind"
        raise UserError(f"{path}: expected images {expected}, got {images.dtype} {list(shape)}. Correct the file.")
    if 0 in shape:
        raise UserError(f"{path}: expected images, got none in {list(shape)}. Correct the file.")
    images = images.reshape(*shape[:4]) if channels == 1 else images
    for views in images:
        yield np.stack([_grey(Image.fromarray(view), image_size) for view in views])


def _from_tree(folder: Path, image_size: int) -> Iterator[UInt8[np.ndarray, "36 image_size image_size"]]:
    """The views of every object of a folder of folders; objects sorted by name, views by the numbers in their names."""
    for item in sorted(path for path in folder.iterdir() if path.is_dir()):
        files, views = sorted(item.glob("*.png"), key=numeric_order), []
        if len(files) != NUM_VIEWS:
            raise UserError(f"{item}: expected {NUM_VIEWS} .png files, got {len(files)}. Complete or remove it.")
        for file in files:
            try:
                with Image.open(file) as picture:
                    views.append(_grey(picture, image_size))
            except (OSError, SyntaxError, ValueError) as error:
                reason = " ".join(str(error).split())
                raise UserError(f"{file}: cannot be read ({reason}). Replace it or remove its folder.") from error
        yield np.stack(views)


def read_category(
    folder: Path, number: str, image_size: int
) -> UInt8[np.ndarray, "num_objects 36 image_size image_size 1"]:
    """All views of a category.

    Args:
      folder: Holds `<number>.npz`, or a folder `<number>`.
      number: WordNet number of the category.
      image_size: Height and width.

    Raises:
      UserError: If the category is missing, damaged or of another form.
    """
    archive, tree = folder / f"{number}.npz", folder / number
    if archive.is_file():
        objects = _from_archive(archive, image_size)
    elif tree.is_dir():
        objects = _from_tree(tree, image_size)
    else:
        raise UserError(
            f"shapenet_views: expected the file {archive} or the folder {tree}, found neither. Add the category or set "
            f"{VARIABLE} to the folder that has it; categories='planes_chairs' needs only two."
        )
    found = list(tqdm(objects, desc=f"reading {number}", unit=" objects", disable=None))
    if not found:
        raise UserError(f"{tree}: expected one folder per object, found none. Add them or correct {VARIABLE}.")
    return np.stack(found)[..., None]


@register("shapenet_views")
def shapenet_views(image_size: int = 32, categories: str = "planes_chairs") -> LabelledImages:
    """ShapeNet renders from $EXFLOW_SHAPENET_VIEWS: aeroplanes and chairs (or twelve categories), 36 grey views each.

    View k of an object is its render at an azimuth of 10 k degrees. The folder holds, per category, either
    `<number>.npz` with `images` uint8 [objects, 36, height, width] or with 1, 3 or 4 channels behind, objects sorted by
    name, or a tree `<number>/<object>/*.png` of 36 renders per object. Pictures are put on white, made grey and resized
    by Lanczos. The published experiments had about 4,045 aeroplanes and 6,778 chairs.

    70 % of the objects are for training, 10 % for validation and 20 % for test: of each category
    ("planes_chairs") or of all objects together ("twelve"), after a shuffle of the sorted objects by
    `RandomState(42)`. The original shuffled an unsorted directory listing in the same way, so its split cannot be
    reproduced and numbers compare only up to the choice of objects. The result is cached until the files change.

    Args:
      image_size: Height and width.
      categories: "planes_chairs", or "twelve": also bench, cabinet, car, display, lamp, speaker, sofa, table, telephone
        and boat.

    Raises:
      UserError: If files are missing, damaged or of another form, or an option is not valid.

    Source: Chang et al. 2015, "ShapeNet", arXiv:1512.03012; its terms of use allow research, not redistribution.
    """
    check_image_size("shapenet_views", image_size)
    check_choice("shapenet_views", "categories", categories, tuple(CATEGORIES))
    folder = user_path("shapenet_views", VARIABLE, "folder", ADVICE)
    views = {number: read_category(folder, number, image_size) for number in sorted(CATEGORIES[categories].values())}
    if categories == "twelve":
        split = split_objects("shapenet_views", sum(map(len, views.values())))
    else:
        parts = [split_objects(f"shapenet_views {number}", len(part)) for number, part in views.items()]
        split = np.concatenate(parts)
    return label_views(np.concatenate(list(views.values())), DEGREES, split)
