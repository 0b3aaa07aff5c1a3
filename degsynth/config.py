"""Configuration: typed and frozen records that are strict about unknown keys; and what callbacks look like.

Configuration files are TOML: read by the standard library, written by tomli-w.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from degsynth.errors import ConfigError, os_reason, shortened
from degsynth.files import read_bounded

OnProgress = Callable[[str, int, int], None]
"""Called with the name of a stage, the steps done and the steps in all."""
OnText = Callable[[str], None]
"""Called with one line for the user: a note or a warning."""


def ignore_progress(stage: str, count: int, total: int) -> None:
    """Ignore the progress: the `OnProgress` of callers that do not want any."""


def ignore_text(text: str) -> None:
    """Ignore the text: the `OnText` of callers that do not want any."""


Stop = Callable[[], AbstractContextManager[Callable[[], bool]]]
"""Makes a context inside which a request to stop can wait; the function that it yields tells whether there is one."""


def never_stop() -> AbstractContextManager[Callable[[], bool]]:
    """Make a context in which nobody asks to stop: the `Stop` of callers that do not want to."""
    return contextlib.nullcontext(lambda: False)


@dataclass(frozen=True)
class Events:
    """Callbacks of a fit, a training or a test. The command line prints what it hears; tests look at it."""

    on_progress: OnProgress = ignore_progress
    on_note: OnText = ignore_text
    """Called with something that a user should know."""
    on_warning: OnText = ignore_text
    """Called with something that a user must not overlook."""
    on_figures: OnText = ignore_text
    """Called now and then with losses and held-out scores."""
    deferred_stop: Stop = never_stop
    """Lets a request to stop wait for the end of a step."""


class Strict(BaseModel):
    """Base class of frozen records for which an unknown key, or a number that is not finite, is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Interval(NamedTuple):
    """A closed interval of numbers; equal ends stand for a single number."""

    low: float
    high: float

    @classmethod
    def parse(cls, text: str, option: str) -> Interval:
        """Read ``"5"`` as (5, 5) and ``"0:10"`` as (0, 10). ConfigError, which names ``option``, for anything else."""
        low, _, high = text.partition(":")
        try:
            ends = float(low), float(high or low)
        except ValueError:
            ends = math.nan, math.nan
        if not all(map(math.isfinite, ends)):
            raise ConfigError(f"`{option}={text}`: give a number, or a range LO:HI")
        return cls(*ends)

    def __str__(self) -> str:
        """Write the interval as the command line reads it."""
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g}:{self.high:g}"


T = TypeVar("T", bound=BaseModel)

LARGEST_CONFIGURATION = 2**20
"""Largest configuration file that is read, bytes."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; ConfigError where it is missing, malformed or too large."""
    try:
        return tomllib.loads(read_bounded(path, LARGEST_CONFIGURATION).decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration {path}: {os_reason(error)}") from None
    except RecursionError:
        raise ConfigError(f"configuration {path} is nested too deeply; write it flat, in the tables it needs") from None
    except ValueError as error:  # of the syntax, the encoding, or a number with thousands of digits
        raise ConfigError(f"configuration {path} is not TOML: {shortened(str(error))}") from None


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Read ``["kernel_size=15", "gain=apply"]`` as values typed as in TOML; a value that is not TOML is a string."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"`set={assignment}`: write it as key=value, e.g. `set=kernel_size=15`")
        try:
            values[key.strip()] = tomllib.loads(f"v = {text}")["v"]
        except (ValueError, RecursionError):
            values[key.strip()] = text
    return values


def nearest(name: str, known: Sequence[str]) -> str:
    """Suggest the most similar of the known names, or list them all where none is similar."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(known))}"


def build(model: type[T], values: Mapping[str, Any], where: str) -> T:
    """Validate ``values`` and return a record of type ``model``.

    ``where`` names the source of the values in errors, e.g. ``method linear``.
    """
    known = list(model.model_fields)
    for key in values:
        if key not in known:
            raise ConfigError(f"{where} has no option '{shortened(key)}'; {nearest(key[:100], known)}")
    try:
        return model.model_validate(dict(values))
    except RecursionError:
        raise ConfigError(f"{where}: its values are nested too deeply") from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        given = f"`{name}={_shown(first['input'])}`" if name else f"options {_shown(first['input'])}"
        raise ConfigError(f"{where}: {given}: {message}") from None


def _shown(value: object) -> str:
    """Return a value as a message shows it."""
    try:
        return shortened(str(value))
    except (ValueError, RecursionError):  # a whole number of thousands of digits, or a list that is nested as deeply
        return "…"


def to_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Write tables of scalars and lists as TOML. TOML has no null, so a value of None becomes a comment."""
    parts: list[str] = []
    for title, table in tables.items():
        lines = [
            f"# {key} is unset\n" if value is None else tomli_w.dumps({key: value}) for key, value in table.items()
        ]
        parts.append(f"[{title}]\n" + "".join(lines))
    return "\n".join(parts)
