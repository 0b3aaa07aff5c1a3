from __future__ import annotations

import pytest

from degsynth.data.split import held_out_indices

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
