"""What a training is asked for: the network, its budget, and the pairs that it learns from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from degsynth.config import Interval, Strict
from degsynth.data.matching import Matching, find
from degsynth.errors import ConfigError
from degsynth.sr.networks import Colours

REAL = "real+"
"""Begins the text of a mixture of real pairs and others."""
OPTIONS = re.compile(r"^(?P<model>.*?)(?::(?P<options>(?:noise|awgn)=.*))?$")
"""A model and what is chosen about its noise, as in ``a.pt:noise=none,awgn=1:5``."""


class Pairs(Strict):
    """Where pairs come from: two folders, or a table; or HR images, of which LR is made by a model or bicubically."""

    hr: str = ""
    """Folder of HR images."""
    pairs: str | None = None
    """Instead of both folders: a CSV file that lists the pairs (`degsynth.data.matching.read_table`)."""
    lr: str | None = None
    """Folder of LR images, matched with HR images by name."""
    model: str | None = None
    """A checkpoint, a run, a shipped model or a kernel pool that makes the LR images."""
    noise: str = "learned"
    """Noise that the model adds: its own (``learned``), ``none``, or that of another model."""
    awgn: str | None = None
    """σ of white noise that is added, as a number or LO:HI, on the 0–255 scale."""

    @property
    def read(self) -> bool:
        """Whether LR images are files, and not made of HR images."""
        return self.lr is not None or self.pairs is not None

    @property
    def place(self) -> str:
        """Where pairs of files are, in words."""
        return f"{self.hr} and {self.lr}" if self.pairs is None else self.pairs

    def matching(self, scale: int | None) -> Matching:
        """Return which files are pairs; DataError where there is none, ConfigError where the table is wrong."""
        hr, lr, table = (None if not path else Path(path) for path in (self.hr, self.lr, self.pairs))
        return find(hr, lr, table, scale)

    @model_validator(mode="after")
    def _is_one_kind(self) -> Pairs:
        if bool(self.hr) == (self.pairs is not None) or (self.pairs is not None and self.lr is not None):
            raise ValueError("give hr, or pairs without lr")
        return self


class Training(Strict):
    """Everything that decides what a training learns, but for the machine."""

    pairs: tuple[Pairs, ...] = Field(min_length=1, max_length=2)
    """One kind of pairs; or two, which then fill half of every batch each."""
    scale: int | None = None
    """HR size / LR size; None: that of the pairs or of the model."""
    net: str = "default"
    """Name of the network."""
    colours: Colours = "luma"
    """What the network sees."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Number of training steps; None: as usual for the network."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Training ends after so many minutes, if that is earlier; None: never."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 8
    """Number of patches in a step."""
    patch: Annotated[int, Field(ge=8, le=1024)] = 40
    """Sides of the LR patches in px; the HR patches are larger by the scale."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Largest learning rate; None: as usual for the network."""
    draws: Annotated[int, Field(ge=1, le=1000)] = 4
    """Number of LR images that a model makes of every HR image: each time one of them is drawn."""
    seed: int = 0
    """Seed of the first weights, the patches, and what models draw."""


def parse_awgn(text: str | None) -> Interval | None:
    """Read σ or LO:HI; None where it was not given."""
    return None if text is None else Interval.parse(text, "awgn")


def parse_model(text: str, hr: str) -> Pairs:
    """Read a model with its noise: ``a.pt``, ``a.pt:noise=none``, ``a.pt:noise=b.pt,awgn=1:5``.

    ``hr`` is the folder of HR images that it degrades. ConfigError for an option that is not known.
    """
    found = OPTIONS.match(text)
    assert found is not None  # the pattern matches every line
    values = {"hr": hr, "model": found["model"]}
    for assignment in (found["options"] or "").split(",") if found["options"] else []:
        key, _, value = assignment.partition("=")
        if key not in ("noise", "awgn") or not value:
            raise ConfigError(
                f"`train={text}`: {assignment!r} is no choice of noise", "write MODEL:noise=none or MODEL:awgn=5"
            )
        values[key] = value
    parse_awgn(values.get("awgn"))
    return Pairs.model_validate(values)
