from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degsynth.data.split import held_out_indices, split_by_scene

NAMES = [f"{number:02}.png" for number in range(23)]


@pytest.mark.parametrize(("seed", "purpose", "expected"), [(0, "held-out", [3, 8]), (7, "held-out LR", [1, 3])])
def test_the_choice_is_that_of_earlier_versions(seed: int, purpose: str, expected: list[int]) -> None:
    """Resumed fits and old checkpoints depend on it."""
    fitted, held_out = held_out_indices(NAMES, seed, purpose)
    assert held_out == expected
    assert sorted(fitted + held_out) == list(range(23))


def test_the_order_of_names_does_not_matter() -> None:
    _, held_out = held_out_indices(NAMES[::-1], 0, "held-out")
    assert sorted(NAMES[::-1][index] for index in held_out) == ["03.png", "08.png"]


def test_one_is_always_held_out() -> None:
    assert held_out_indices(["a"], 0, "held-out") == ([], [0])
    assert len(held_out_indices(["a", "b"], 0, "held-out")[1]) == 1
    assert len(held_out_indices(NAMES, 0, "held-out", fraction=0.5)[1]) == 12


SCENES = st.lists(st.integers(0, 30).map(str), min_size=1, max_size=60)
"""The scene of each pair."""


@given(SCENES, st.integers(0, 99), st.booleans())
def test_no_scene_is_on_both_sides(scenes: list[str], seed: int, chooses: bool) -> None:
    split = split_by_scene(scenes, seed, chooses)
    fitted, choosing, reported = ({scenes[i] for i in part} for part in (split.fitted, split.choosing, split.reported))
    count = len(set(scenes))
    assert sorted(split.fitted + split.held_out()) == list(range(len(scenes)))
    assert not fitted & (choosing | reported)
    assert reported
    assert bool(fitted) == (count > 1)
    assert bool(choosing) == chooses
    if chooses and count >= 6:
        assert not choosing & reported
        assert 0 <= len(reported) - len(choosing) <= 1
    elif chooses:
        assert split.choosing == split.reported


@given(SCENES, st.integers(0, 99), st.booleans())
def test_the_order_of_pairs_does_not_matter(scenes: list[str], seed: int, chooses: bool) -> None:
    def by_part(order: list[str]) -> list[set[str]]:
        split = split_by_scene(order, seed, chooses)
        return [{order[i] for i in part} for part in (split.fitted, split.choosing, split.reported)]

    assert by_part(scenes) == by_part(scenes[::-1]) == by_part(sorted(scenes))


@pytest.mark.parametrize(
    ("count", "learned", "closed"),
    [
        (2, (1, 0, 1), (1, 1)), (5, (4, 0, 1), (4, 1)), (6, (4, 1, 1), (5, 1)), (14, (12, 1, 1), (13, 1)),
        (15, (13, 1, 1), (13, 2)), (28, (25, 1, 2), (25, 3)), (36, (32, 2, 2), (32, 4)), (100, (90, 5, 5), (90, 10)),
    ],
)  # fmt: skip
def test_how_many_scenes_each_part_has(count: int, learned: tuple[int, int, int], closed: tuple[int, int]) -> None:
    names = [f"{number:03}" for number in range(count)]
    split = split_by_scene(names, 0, chooses=True)
    apart = set(split.choosing) - set(split.reported)
    assert (len(split.fitted), len(apart), len(split.reported)) == learned
    split = split_by_scene(names, 0, chooses=False)
    assert (len(split.fitted), len(split.reported)) == closed
    assert split.choosing == []


@pytest.mark.parametrize("count", [4, 15, 28, 36])
def test_names_that_are_scenes_are_held_out_as_in_earlier_versions(count: int) -> None:
    names = [f"{number:02}.png" for number in range(count)]
    assert split_by_scene(names, 3, chooses=True).fitted == held_out_indices(names, 3, "held-out")[0]
    assert split_by_scene(names, 3, chooses=False).reported == held_out_indices(names, 3, "held-out")[1]


def test_a_scene_with_most_of_the_pairs_is_fitted_to() -> None:
    scenes = ["large"] * 90 + [f"s{number}" for number in range(9)]
    for seed in range(30):
        assert "large" in {scenes[index] for index in split_by_scene(scenes, seed, chooses=True).fitted}


def test_seeds_hold_out_other_scenes() -> None:
    scenes = [str(number // 3) for number in range(30)]
    assert len({tuple(split_by_scene(scenes, seed, chooses=True).reported) for seed in range(30)}) > 5
