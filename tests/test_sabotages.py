"""The list of `tests.sabotages` fits the package; that they are caught is shown by ``python -m tests.sabotages``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sabotages import SABOTAGES, Sabotage, fault

TESTS = Path(__file__).parent


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.name)
def test_a_sabotage_can_be_put_in_and_its_tests_exist(sabotage: Sabotage) -> None:
    assert not fault(sabotage), "change its `old` and `new` with the line that they are about"
    for test in sabotage.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}" in (TESTS / file).read_text(encoding="utf-8")


def test_sabotages_have_names_of_their_own() -> None:
    assert len({sabotage.name for sabotage in SABOTAGES}) == len(SABOTAGES)
