"""Checks of options, and of files of the user: the messages."""

import pytest

from exflow.data.building.options import check_at_least, check_choice, user_path
from exflow.errors import UserError


def test_options_out_of_range_are_named() -> None:
    check_choice("toy", "kind", 2, (2, 3))
    check_at_least("toy", 1, num=1, size=5)
    with pytest.raises(UserError, match=r"^toy: expected kind of 2 or 3, got 4\.$"):
        check_choice("toy", "kind", 4, (2, 3))
    with pytest.raises(UserError, match=r"^toy: expected size >= 1, got 0\.$"):
        check_at_least("toy", 1, num=1, size=0)


def test_files_and_folders_come_from_the_environment(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    for kind, found, other in (("file", tmp_path / "file", tmp_path), ("folder", tmp_path, tmp_path / "file")):
        monkeypatch.delenv("EXFLOW_TOY", raising=False)
        with pytest.raises(UserError, match=r"^toy: EXFLOW_TOY is not set. Set it to a toy\.$"):
            user_path("toy", "EXFLOW_TOY", kind, "a toy.")
        monkeypatch.setenv("EXFLOW_TOY", str(other))
        with pytest.raises(UserError, match=rf"^toy: EXFLOW_TOY names {other}, which is no {kind}. Set it to a toy\.$"):
            user_path("toy", "EXFLOW_TOY", kind, "a toy.")
        monkeypatch.setenv("EXFLOW_TOY", str(found))
        assert user_path("toy", "EXFLOW_TOY", kind, "a toy.") == found
