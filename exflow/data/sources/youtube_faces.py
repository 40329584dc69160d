"""YouTube Faces as sets of frames of one video each, from a folder of the user (its terms forbid passing it on)."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from exflow.data.building.options import check_at_least, user_path
from exflow.data.building.pictures import numeric_order, read_centre
from exflow.data.registry import TEST, TRAIN, VALIDATION, LabelledImages, register
from exflow.data.resize import check as check_resize
from exflow.data.resize import resize
from exflow.errors import UserError

VARIABLE = "EXFLOW_YOUTUBE_FACES"
ADVICE = "a folder with PERSON/VIDEO/*.jpg, as aligned_images_DB is; configs/bruno_cifar10.py runs without it."
NUM_VALIDATION, NUM_TEST = 100, 100  # persons


def videos_of(folder: Path) -> dict[str, list[Path]]:
    """Folders of the videos of every person, both in order.

    Raises:
      UserError: If there are too few persons to divide, or one has no video.
    """
    people = {
        person.name: sorted((video for video in person.iterdir() if video.is_dir()), key=numeric_order)
        for person in sorted(path for path in folder.iterdir() if path.is_dir())
    }
    if len(people) <= NUM_VALIDATION + NUM_TEST:
        raise UserError(
            f"{folder}: expected more than {NUM_VALIDATION + NUM_TEST} persons, got {len(people)}. Complete the folder."
        )
    if empty := [person for person, videos in people.items() if not videos]:
        raise UserError(f"{folder / empty[0]}: expected folders of videos, got none. Complete or remove it.")
    return people


def chosen_frames(video: Path, frames: int) -> list[Path]:
    """At most `frames` of the pictures of a video, evenly spread over it.

    Raises:
      UserError: If it has fewer than two.
    """
    files = sorted(video.glob("*.jpg"), key=numeric_order)
    if len(files) < 2:
        raise UserError(f"{video}: expected at least 2 .jpg files, got {len(files)}. Complete or remove it.")
    if len(files) <= frames:
        return files
    return [files[at] for at in np.linspace(0, len(files) - 1, frames).round().astype(int)]


@register("youtube_faces")
def youtube_faces(image_size: int = 64, crop: int = 128, frames: int = 20, seed: int = 0) -> LabelledImages:
    """YouTube Faces by video, from $EXFLOW_YOUTUBE_FACES: 100 persons for validation, 100 for test, the others train.

    A class is a video. Of the persons that are held out only the first video counts, as published. The original draws a
    person and then one of the videos of that person; here all videos of the training persons are equally likely. The
    centre of the frames is brought to `image_size` by averaging areas. The complete data set has 3,425 videos of 1,595
    persons, about 0.7 GB with the defaults; the result is cached until the files change.

    Args:
      image_size: Height and width.
      crop: Height and width of the centre.
      frames: At most so many of a video are kept, evenly spread over it.
      seed: Of the division of the persons, at least 0; the published one is not known.

    Raises:
      UserError: If files are missing or damaged, or an option is not valid.

    Source: Wolf et al. 2011, "Face recognition in unconstrained videos with matched background similarity", for
    research; sets of Edwards and Storkey 2017, arXiv:1606.02185, section 5.4.
    """
    check_resize(image_size, "area")
    check_at_least("youtube_faces", 1, crop=crop)
    check_at_least("youtube_faces", 2, frames=frames)
    check_at_least("youtube_faces", 0, seed=seed)
    people = videos_of(user_path("youtube_faces", VARIABLE, "folder", ADVICE))
    part = np.full(len(people), TRAIN, np.uint8)
    order = np.random.default_rng(seed).permutation(len(people))
    part[order[:NUM_VALIDATION]] = VALIDATION
    part[order[NUM_VALIDATION : NUM_VALIDATION + NUM_TEST]] = TEST
    videos = [
        (video, split)
        for split, of_person in zip(part, people.values(), strict=True)
        for video in (of_person if split == TRAIN else of_person[:1])
    ]
    images, labels, splits = [], [], []
    for label, (video, split) in enumerate(tqdm(videos, desc="reading YouTube Faces", unit=" videos", disable=None)):
        pictures = np.stack([read_centre(path, crop, VARIABLE) for path in chosen_frames(video, frames)])
        images.append(resize(pictures, image_size, "area"))
        labels += len(pictures) * [label]
        splits += len(pictures) * [split]
    return LabelledImages(np.concatenate(images), np.array(labels, np.int32), np.array(splits, np.uint8))
