"""Patterns for names, as --include and --exclude take them."""

from __future__ import annotations

from pathlib import Path

import pytest

from degsynth.data.patterns import Pattern
from degsynth.data.sources import ALL, Choice, Sources, choose
from degsynth.errors import ConfigError

KNOWN = [
    ("*.png", "a.png", True),
    ("*.png", "sub/deep/a.png", True),
    ("*.png", "a.png.jpg", False),
    ("*.PNG", "a.png", False),
    ("thumbs", "thumbs/a.png", True),
    ("thumbs", "sub/thumbs/deep/a.png", True),
    ("thumbs/", "sub/thumbs/a.png", True),
    ("thumbs", "my_thumbs/a.png", False),
    ("/a.png", "a.png", True),
    ("/a.png", "sub/a.png", False),
    ("./a.png", "sub/a.png", False),
    ("sub/*", "sub/a.png", True),
    ("sub/*", "sub/deep/a.png", True),  # it fits the folder
    ("sub/*.png", "sub/deep/a.png", False),
    ("sub/*.png", "other/sub/a.png", False),
    ("sub/**/a.png", "sub/a.png", True),
    ("sub/**/a.png", "sub/x/y/a.png", True),
    ("**/deep/*.png", "sub/deep/a.png", True),
    ("**/deep/*.png", "deep/a.png", True),
    ("shot[0-4]?.png", "shot31.png", True),
    ("shot[0-4]?.png", "shot51.png", False),
    ("caf\u00e9.png", "cafe\u0301.png", True),
    ("", "a.png", False),
    ("/", "a.png", False),
    ("**", "sub/a.png", True),
    ("/".join(["**", "a"] * 12), "/".join("a" * 40), True),  # no search without end
    ("/".join(["**", "a"] * 12) + "/b", "/".join("a" * 40), False),
]


@pytest.mark.parametrize(("pattern", "name", "expected"), KNOWN)
def test_what_a_pattern_fits(pattern: str, name: str, expected: bool) -> None:
    assert Pattern(pattern).fits(name) is expected


@pytest.fixture
def sources() -> Sources:
    names = ("a.png", "b.jpg", "sub/a.png", "sub/thumbs/a.png")
    return Sources(Path("HR"), names, ("notes.txt", "sub/list.csv"))


def test_include_and_exclude_choose_files(sources: Sources) -> None:
    assert sources.chosen(ALL) == sources
    assert sources.chosen(Choice(("*.png",))).names == ("a.png", "sub/a.png", "sub/thumbs/a.png")
    chosen = sources.chosen(Choice(("*.png", "b.*"), ("thumbs", "*.txt")))
    assert (chosen.names, chosen.left_out) == (("a.png", "b.jpg", "sub/a.png"), 1)
    assert chosen.others == ("sub/list.csv",)
    chosen = sources.chosen(Choice(exclude=("sub",)))
    assert (chosen.names, chosen.left_out) == (("a.png", "b.jpg"), 2)


@pytest.mark.parametrize(
    ("include", "exclude", "words"),
    [
        (["*.png", "*.gif"], [], r"`include=\*\.gif`: no image in HR has such a name"),
        (["*.txt"], [], r"`include=\*\.txt`"),
        ([], ["HR/a.png"], r"`exclude=HR/a\.png`"),
        ([""], [], "`include=`"),
        (["a.png"], ["a.png"], "no image of HR is left"),
    ],
)
def test_patterns_that_choose_nothing(include: list[str], exclude: list[str], words: str, sources: Sources) -> None:
    with pytest.raises(ConfigError, match=words):
        sources.chosen(Choice(tuple(include), tuple(exclude)))


def test_a_pattern_for_two_folders_must_fit_in_one_of_them() -> None:
    hr, lr = Sources(Path("HR"), ("a.png", "b.png"), ()), Sources(Path("LR"), ("a.jpg", "b.png"), ("notes.txt",))
    left = choose([hr, lr], Choice((), ("*.jpg", "notes.txt")))
    assert [(side.names, side.others, side.left_out) for side in left] == [
        (("a.png", "b.png"), (), 0),
        (("b.png",), (), 1),
    ]
    with pytest.raises(ConfigError, match=r"`exclude=c\.png`: no image in HR or LR has such a name"):
        choose([hr, lr], Choice((), ("c.png",)))
    with pytest.raises(ConfigError, match="no image of HR is left by `include` and `exclude`"):
        choose([hr, lr], Choice(("*.jpg",)))
