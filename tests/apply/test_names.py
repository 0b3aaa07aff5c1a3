from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degsynth.apply.layouts.names import assign_stems, plan_outputs


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


def test_a_page_and_a_file_of_its_name_have_stems_of_their_own() -> None:
    planned = plan_outputs(["s.tif", "s_p0001.tif"], 1, [], pages={"s.tif": 3})
    stems = {(name, output.page): output.stem for name, outputs in planned.items() for output in outputs}
    assert stems == {
        ("s.tif", 0): "s_p0000",
        ("s.tif", 1): "s_p0001_",
        ("s.tif", 2): "s_p0002",
        ("s_p0001.tif", 0): "s_p0001",
    }
    drawn = plan_outputs(["a.png", "a_0.png"], 2, [])
    assert len({output.stem for outputs in drawn.values() for output in outputs}) == 4


@given(st.lists(st.from_regex(r"[ab]{1,2}(_jpg)?\.(png|jpg|tif)", fullmatch=True), unique=True), st.integers())
def test_names_are_distinct_and_independent_of_order(names: list[str], seed: int) -> None:
    stems = assign_stems(names)
    assert sorted(stems) == sorted(names)
    assert len(set(stems.values())) == len(names)
    shuffled = list(names)
    random.Random(seed).shuffle(shuffled)
    assert assign_stems(shuffled) == stems
