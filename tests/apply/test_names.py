from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degsynth.apply.layouts.names import assign_stems


def test_equal_stems_get_distinct_names() -> None:
    names = ["dup.jpg", "dup.png", "sub/dup.png", "dup_jpg.png", "Other.TIF", "a.b.png"]
    assert assign_stems(names) == {
        "dup.png": "dup",
        "dup.jpg": "dup_jpg_2",
        "sub/dup.png": "sub/dup",
        "dup_jpg.png": "dup_jpg",
        "Other.TIF": "Other",
        "a.b.png": "a.b",
    }


@pytest.mark.parametrize("names", [["A.png", "a.png"], ["A.jpg", "a.png"], ["SUB/a.jpg", "sub/a.png"]], ids=str)
def test_case_alone_does_not_tell_names_apart(names: list[str]) -> None:
    stems = assign_stems(names)
    assert len({stem.casefold() for stem in stems.values()}) == 2


@given(st.lists(st.from_regex(r"[ab]{1,2}(_jpg)?\.(png|jpg|tif)", fullmatch=True), unique=True), st.integers())
def test_names_are_distinct_and_independent_of_order(names: list[str], seed: int) -> None:
    stems = assign_stems(names)
    assert sorted(stems) == sorted(names)
    assert len(set(stems.values())) == len(names)
    shuffled = list(names)
    random.Random(seed).shuffle(shuffled)
    assert assign_stems(shuffled) == stems
