"""Options of data sets as text: every type of value comes back, and nothing is taken for something else."""

import inspect
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exflow.data.fingerprint import encode
from exflow.data.option_text import read_options
from exflow.errors import UserError

QUICK = settings(max_examples=25, deadline=None, derandomize=True, database=None)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.binary(max_size=4)
VALUES = st.recursive(
    PLAIN | TEXTS.map(Path),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(TEXTS, inner, max_size=2)
        | st.frozensets(PLAIN, max_size=2)
    ),
    max_leaves=6,
)


def read(text: str, build: Any) -> Any:
    (value,) = read_options("toy", text, inspect.signature(build).parameters).values()
    return value


def same(a: Any, b: Any) -> bool:
    """Equal in value and in type, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(any(same(p, q) and same(a[p], b[q]) for q in b) for p in a)
    if isinstance(a, frozenset):
        return len(a) == len(b) and all(any(same(p, q) for q in b) for p in a)
    return repr(a) == repr(b)  # tells 0.0 from -0.0


@QUICK
@given(VALUES, VALUES)
def test_no_two_values_have_one_encoding(a, b) -> None:
    assert (encode(a) == encode(b)) == same(a, b)
    assert encode([a, b]) != encode([[a, b]])


@QUICK
@given(st.lists(TEXTS, min_size=2, max_size=2), st.lists(TEXTS, min_size=2, max_size=2))
def test_no_two_options_have_one_encoding(a, b) -> None:
    first, second = ({"part": part, "kind": kind} for part, kind in (a, b))
    assert (encode(first) == encode(second)) == (a == b)


@QUICK
@given(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.lists(st.integers(), max_size=3).map(tuple),
    st.lists(TEXTS, max_size=2),
)
def test_every_type_of_value_comes_back(flag, whole, real, text, sizes, names) -> None:
    def build(
        flag: bool = True,
        whole: int = 0,
        real: float = 0.5,
        text: str = "",
        sizes: tuple[int, ...] = (1,),
        names: list[str] | None = None,
        folder: Path = Path("."),
        bare=None,
    ) -> None: ...

    values = {"flag": flag, "whole": whole, "real": real, "text": text, "sizes": sizes, "names": names}
    for bare in (None, flag, whole, real, text, sizes, names):
        expected = values | {"folder": Path(text), "bare": bare}
        written = ", ".join(f"{key} = {(text if key == 'folder' else value)!r}" for key, value in expected.items())
        found = read_options("toy", written, inspect.signature(build).parameters)
        assert same(found, expected)


@pytest.mark.parametrize(
    ("default", "text", "expected"),
    [
        (True, "False", False),
        (True, "no", False),
        (False, "1", True),
        (0.5, "-inf", float("-inf")),
        ("", "/a/b", "/a/b"),
        ("", "a=b", "a=b"),
        ("", "", ""),
        ("", "3", "3"),
        ("", "'a, b'", "a, b"),
        (Path("x"), "/a/b", Path("/a/b")),
        (None, "/a/b", "/a/b"),
        (None, "7", 7),
        (None, "None", None),
        ((1, 2), "(3, 4)", (3, 4)),
        ((1.5,), "[3]", (3.0,)),
        ((Path("x"),), "('y',)", (Path("y"),)),
        ({}, "{'a': 1, 'b': 2}", {"a": 1, "b": 2}),
    ],
)
def test_values_take_the_type_of_the_default(default, text, expected) -> None:
    def build(option=default) -> None: ...

    assert same(read(f"option={text}", build), expected)


def test_annotations_tell_the_type_where_a_default_cannot() -> None:
    def build(
        rate: float = 1,
        limit: int | None = None,
        root: Path | None = None,
        kind: Literal["a", 2] = "a",
        must: int = ...,
    ) -> None: ...

    assert same(read("rate=2", build), 2.0)
    assert same(read("limit=3", build), 3)
    assert read("limit=None", build) is None
    assert same(read("root=/a", build), Path("/a"))
    assert same(read("kind=2", build), 2)
    assert same(read("kind=b", build), "b")
    assert same(read("must=3", build), 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flag=maybe", "expected flag=True or False for toy, got 'flag=maybe'"),
        ("flag", "expected flag=True or False for toy, got 'flag'"),
        ("sizes=3", "expected sizes=tuple for toy, got 'sizes=3'"),
        ("sizes=abc", "expected sizes=tuple for toy, got 'sizes=abc'"),
        ("sizes=(1.5,)", r"expected sizes=tuple for toy, got 'sizes=\(1.5,\)'"),
        ("limit=x", "expected limit=None or int for toy, got 'limit=x'"),
        ("sizes=(1, 2", r"'sizes=\(1, 2' has an open quote or bracket. Close it, or put the value in quotes"),
        ("flag=1, flag=0", "flag stands twice. Leave one out"),
        ("flat=1", "toy: has no option 'flat'. Its options: flag, sizes, limit"),
    ],
)
def test_what_cannot_be_read_is_named(text, message) -> None:
    def build(flag: bool = True, sizes: tuple = (1, 2), limit: int | None = None) -> None: ...

    with pytest.raises(UserError, match=message):
        read(text, build)
