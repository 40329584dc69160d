"""YouTube Faces from a folder like the real one: who is where, which frames, and what a user is told."""

import numpy as np
import pytest
from PIL import Image

from exflow.data import datasets
from exflow.data.registry import SPLITS
from exflow.data.sources import youtube_faces
from exflow.errors import UserError

PERSONS, FRAMES = 6, 12


@pytest.fixture
def folder(tmp_path, monkeypatch, cache_dir):
    """6 persons of 1 or 2 videos of 12 frames of 12x10, whose centre tells person, video and frame."""
    monkeypatch.setattr(youtube_faces, "NUM_VALIDATION", 1)
    monkeypatch.setattr(youtube_faces, "NUM_TEST", 2)
    monkeypatch.setenv(youtube_faces.VARIABLE, str(tmp_path / "faces"))
    for person in range(PERSONS):
        for video in (2, 10)[: 1 + person % 2]:
            place = tmp_path / "faces" / f"person_{person}" / str(video)
            place.mkdir(parents=True)
            for frame in range(FRAMES):
                pixels = np.full((10, 12, 3), 255, np.uint8)
                pixels[1:9, 2:10] = person, video, frame
                Image.fromarray(pixels).save(place / f"frame.{frame}.jpg", format="png")
    return tmp_path / "faces"


def test_splits_share_no_person_and_frames_are_spread(folder):
    sets = datasets.load("youtube_faces", image_size=4, crop=8, frames=5)
    persons = {}
    for part, persons_expected in zip(SPLITS, (3, 1, 2), strict=True):
        videos = []
        for rows, count in zip(sets[part].index, sets[part].count, strict=True):
            images = sets[part].images[rows[:count]].astype(int)
            assert (images == images[:, :1, :1]).all()  # nothing of the border
            assert len({tuple(image[:2]) for image in images[:, 0, 0]}) == 1  # one video
            np.testing.assert_array_equal(images[:, 0, 0, 2], [0, 3, 6, 8, 11])  # round(2.75 n), halves to even
            videos.append(tuple(images[0, 0, 0, :2]))
        persons[part] = {person for person, _ in videos}
        assert len(persons[part]) == persons_expected
        most = {2} if part != "train" else {2, 10}  # of the others only the first video, 2 before 10
        assert {video for _, video in videos} <= most
        if part == "train":
            assert len(videos) == sum(1 + person % 2 for person in persons[part])
    assert len(set().union(*persons.values())) == PERSONS


def test_what_is_missing_or_wrong_is_named(folder, monkeypatch):
    def fails(match, **options):
        with pytest.raises(UserError, match=match) as caught:
            datasets.load("youtube_faces", image_size=4, **{"crop": 8, **options})
        assert "\n" not in str(caught.value)

    fails("frames >= 2, got 1", frames=1)
    fails(r"frame.0.jpg: has 12x10 pixels, crop is 11. Set crop=10", crop=11)
    video = folder / "person_0" / "2"
    for frame in range(1, FRAMES):
        (video / f"frame.{frame}.jpg").unlink()
    fails(rf"^{video}: expected at least 2 .jpg files, got 1. Complete or remove it.")
    (folder / "person_7").mkdir()
    fails(rf"^{folder / 'person_7'}: expected folders of videos, got none")
    monkeypatch.setattr(youtube_faces, "NUM_TEST", 6)
    fails(r"expected more than 7 persons, got 7. Complete the folder.")
    monkeypatch.delenv(youtube_faces.VARIABLE)
    fails("youtube_faces: EXFLOW_YOUTUBE_FACES is not set. Set it to a folder with PERSON/VIDEO")
