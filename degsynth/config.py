"""Configuration: typed, frozen, written out in full, and strict about unknown keys."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from degsynth.errors import ConfigError


class Strict(BaseModel):
    """A frozen record whose unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Training(Strict):
    """What the loop needs to know of a method that learns by steps; such a method's ``Config`` begins with it."""

    steps: int = Field(default=10_000, ge=1)
    """Batches to learn from."""
    minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Stop after so many minutes where the steps take longer; the learning rate falls with whichever is nearer its end.
    Such a fit cannot be repeated exactly."""
    batch: int = Field(default=8, ge=1)
    """Patches in a batch."""
    patch: int | None = Field(default=None, ge=8)
    """Side of a patch, HR px; unset: what suits the method and scale."""
    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    """Adam's, at its highest."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How it goes on from there."""
    halve_every: int = Field(default=0, ge=0)
    """Steps after which it is halved, besides, time and again; 0: never."""
    warmup: int = Field(default=100, ge=0)
    """Steps over which it rises."""
    average: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the running mean of the weights, which is what is scored and exported; 0: the weights themselves."""
    flips: bool = False
    """Mirror patches at random, left-right and up-down. What is learnt is then symmetric, whatever the lens does."""


T = TypeVar("T", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; ConfigError where it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path} is not TOML: {error}") from None


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """``["kernel_size=15", "gain=apply"]`` → values typed as in TOML; what is no TOML value is a string."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {assignment}: write it as key=value, e.g. --set kernel_size=15")
        try:
            values[key.strip()] = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            values[key.strip()] = text
    return values


def nearest(name: str, known: Sequence[str]) -> str:
    """`` Did you mean 'x'?``, or a list of what there is where nothing is near."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(known))}"


def build(model: type[T], values: Mapping[str, Any], where: str) -> T:
    """Validate ``values`` into ``model``. ``where`` names the source in errors, e.g. ``method linear``."""
    known = list(model.model_fields)
    for key in values:
        if key not in known:
            raise ConfigError(f"{where} has no option '{key}'; {nearest(key, known)}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}: {name or 'options'} (={first['input']!r}): {message}") from None


def to_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables of scalars and lists as TOML; None becomes a comment, since TOML has no null."""
    lines: list[str] = []
    for title, table in tables.items():
        lines.append(f"[{title}]")
        for key, value in table.items():
            if value is None:
                lines.append(f"# {key} is unset")
            else:
                # JSON strings, numbers, booleans and flat lists are TOML as well.
                lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
        lines.append("")
    return "\n".join(lines)
