"""Paths that the operating system refuses: one line that names them, whichever command they are given to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Run

LONG = "a" * 300
COMMANDS = {
    "fit": ["fit", "--method", "linear", "--hr", LONG, "--lr", "lr", "--out", "run"],
    "fit out": ["fit", "--method", "linear", "--hr", "hr", "--lr", "lr", "--out", LONG],
    "fit config": ["fit", "--config", LONG, "--out", "run"],
    "apply": ["apply", LONG, "hr", "out"],
    "inspect": ["inspect", f"{LONG}.h5", "--scale", "2"],
    "show": ["kernel-pool", "show", LONG],
    "import": ["kernel-pool", "import", LONG, "-o", "k.h5"],
    "generate": ["kernel-pool", "generate", LONG, "-o", "k.h5"],
    "write a pool": ["kernel-pool", "generate", "--gaussian", "1:2", "-n", "2", "-o", f"{LONG}.h5"],
    "export": ["export", LONG, "-o", "m.pt"],
    "selftest": ["selftest", LONG],
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_path_that_is_too_long_is_one_line(
    case: str, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*COMMANDS[case])
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "too long" in err
    assert "aaa" in err


def test_a_null_character_in_a_configuration_is_one_line(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[fit]\nmethod = "linear"\nhr = "a\\u0000b"\nlr = "c"\n')
    code, _, err = cli("fit", "--config", tmp_path / "c.toml", "--out", tmp_path / "run")
    assert (code, err.count("\n")) == (2, 1)
    assert "null character" in err
