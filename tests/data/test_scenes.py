"""The scene of a pair, told from its name."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from degsynth.data.scenes import compile_pattern, scene_of, scenes_of
from degsynth.errors import ConfigError

NUMBERS = st.integers(0, 10**6)
WORDS = st.sampled_from(["crop", "patch", "Tile", "sub", "part"])
HEADS = st.from_regex(r"([a-z0-9 ä]{1,6}/){0,2}[A-Za-z0-9_. -]{0,8}[A-Za-z]", fullmatch=True)
"""Names of photographs, in folders or not, that end in a letter."""
ENDINGS = st.one_of(
    NUMBERS.map(lambda n: f"_s{n:03}"),
    st.tuples(NUMBERS, NUMBERS).map(lambda at: f"__{at[0]}_{at[1]}"),
    st.tuples(
        st.sampled_from("_-"),
        st.sampled_from(["crop", "patch", "Tile", "sub", "part"]),
        st.sampled_from(["", "_", "-"]),
    ).flatmap(lambda word: NUMBERS.map(lambda n: "".join(word) + str(n))),
    st.tuples(NUMBERS, NUMBERS).map(lambda at: f"_y{at[0]}_x{at[1]}"),
)


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        ("0001_s001", "0001"),
        ("0001_s012", "0001"),
        ("img__128_64", "img"),
        ("img_01__0_512", "img_01"),
        ("img_01_crop2", "img_01"),
        ("img-patch-3", "img"),
        ("img_tile_2", "img"),
        ("img_tile_0_128", "img"),
        ("img_r1_c2", "img"),
        ("a/0001_s001", "a/0001"),
        ("img_crop2_patch3", "img"),
    ],
)
def test_usual_endings_of_sub_images(name: str, scene: str) -> None:
    assert scene_of(name) == scene


@pytest.mark.parametrize(
    "name",
    [
        "0001", "nikon_003", "IMG_0001", "DSC_0412", "Canon_001", "img_1_2", "2023_10_11", "crop", "crop2", "patch_001",
        "a/patch_001", "a/_s001", "img_s1", "backcrop2", "img_crop2b", "img_x4",
    ],
)  # fmt: skip
def test_names_that_are_scenes_of_their_own(name: str) -> None:
    """Numbers alone count photographs. Where nothing comes before an ending, there is nothing to be a part of."""
    assert scene_of(name) == name


@given(HEADS, ENDINGS, ENDINGS)
def test_sub_images_of_a_scene_share_it(head: str, first: str, second: str) -> None:
    assert scene_of(head + first) == scene_of(head + second) == scene_of(head)
    assert scene_of(head + first + second) == scene_of(head)


@given(HEADS, ENDINGS, st.sampled_from(["a", "b/c"]))
def test_a_folder_is_part_of_the_scene(name: str, ending: str, folder: str) -> None:
    assert scene_of(f"{folder}/{name}{ending}") == f"{folder}/{scene_of(name + ending)}"


@given(st.text("ab_-/s0123crop", max_size=20))
def test_the_scene_is_the_beginning_of_the_name_and_final(name: str) -> None:
    scene = scene_of(name)
    assert name.startswith(scene)
    assert bool(scene) == bool(name)
    assert scene_of(scene) == scene
    assert scene.count("/") == name.count("/")


@given(st.from_regex(r"[A-Za-z_]{0,8}", fullmatch=True), st.sets(NUMBERS, min_size=2, max_size=9))
def test_counted_photographs_are_not_grouped(head: str, numbers: set[int]) -> None:
    assume(not re.search(r"(?i)(_s|__|(crop|patch|tile|part|sub|subimage|subimg)_?)$", head))
    names = [f"{head}{number:04}" for number in numbers]
    assert len({scene_of(name) for name in names}) == len(names)


def test_spellings_of_one_letter_are_one_scene() -> None:
    assert scene_of("a\u0301_s001") == scene_of("\u00e1_s002")


@pytest.mark.parametrize(
    ("pattern", "name", "scene"),
    [
        (r"^(\d+)-", "12-3", "12"),
        (r"^\d+-", "12-3", "12-"),
        (r"^(a)?\d+", "12-3", "12"),  # the group takes no part
        (r"([^/]+)/", "deep/er/img", "deep"),
        (r"^(\d+)-", "other", "other"),
        (r"(?P<x>i)(m)", "img", "i"),
    ],
)
def test_a_pattern_finds_the_scene(pattern: str, name: str, scene: str) -> None:
    assert scene_of(name, compile_pattern(pattern)) == scene


@given(HEADS, HEADS)
def test_a_pattern_decides_alone(first: str, second: str) -> None:
    """Usual endings mean nothing then."""
    every = compile_pattern("(.+)")
    assert (scene_of(first + "_s001", every) == scene_of(second + "_s002", every)) is False
    assert scene_of(first, compile_pattern("^(.)")) == first[0]


@pytest.mark.parametrize(
    "text", ["(", "[a", "*", "a{99999999999999}", "(?P<1>a)", "(a)" * 5000 + "(", "(" * 9999, "\\"]
)
def test_what_is_no_pattern_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"`group_scene=.* is no regular expression") as caught:
        compile_pattern(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_empty_pattern_is_refused() -> None:
    with pytest.raises(ConfigError, match="is empty"):
        compile_pattern("")


def test_a_pattern_of_doubtful_syntax_causes_no_warning() -> None:
    assert scene_of("a[b", compile_pattern("[[]")) == "["  # "possible nested set"; all warnings are errors in tests


def test_names_without_the_pattern_are_pointed_out() -> None:
    scenes, doubts = scenes_of(["1-a", "1-b", "x", "y"], compile_pattern(r"^(\d)-"))
    assert scenes == ["1", "1", "x", "y"]
    assert len(doubts) == 1
    assert "not found in 2 of 4 names (x, …)" in doubts[0]


def test_parts_of_a_single_scene_are_scenes_with_a_warning() -> None:
    """There would be nothing to hold out. Whoever gives a pattern wants it to be kept."""
    names = ["big_s001", "big_s002", "big_s003"]
    scenes, doubts = scenes_of(names)
    assert scenes == names
    assert "parts of one scene (big)" in doubts[0]
    assert scenes_of(names, compile_pattern("^[a-z]+")) == (["big"] * 3, [])
    assert scenes_of(["big_s001"])[1] == []
    assert scenes_of([*names, "other"]) == (["big", "big", "big", "other"], [])
