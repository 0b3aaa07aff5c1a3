from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from degsynth.apply.allocator import keep_freed_memory
from degsynth.cli.options import usable_cores
from tests.benchmarks import material

TABLE: list[str] = []
"""What was measured, a line each, printed at the end."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in HR, models as they are asked for."""
    made = tmp_path_factory.mktemp("benchmarks")
    material.photographs(made / "HR", 64)
    cv2.setNumThreads(1)
    keep_freed_memory()  # as the command does
    return made


@pytest.fixture(scope="session")
def few(folder: Path) -> Path:
    """The first eight of them, for what takes long."""
    (folder / "few").mkdir()
    for path in sorted((folder / "HR").iterdir())[:8]:
        (folder / "few" / path.name).hardlink_to(path)
    return folder / "few"


@pytest.fixture(scope="session")
def workers() -> int:
    return usable_cores()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE:
        terminalreporter.section("in figures")
        for line in TABLE:
            terminalreporter.line(line)
