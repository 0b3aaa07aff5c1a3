"""What a comparison trains on: the texts of ``--train``, read as pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from degsynth.data import images
from degsynth.data.matching import find
from degsynth.data.pair_check import scale_of
from degsynth.errors import ConfigError, DataError
from degsynth.sr.options import OPTIONS, REAL, Pairs, parse_model

BICUBIC, ORACLE = "bicubic", "real"
"""Texts for bicubic LR, and for the real LR of the training scenes: the two ends of the way that others go."""


@dataclass(frozen=True)
class Folders:
    """The images of a comparison."""

    hr: Path
    """HR images of which LR is made."""
    test_hr: Path | None = None
    """HR images of the real pairs that networks are tested on."""
    test_lr: Path | None = None
    real_hr: Path | None = None
    """HR images of the real pairs to train on; None: ``hr``."""
    real_lr: Path | None = None
    """LR images of the real pairs to train on; None: there are none, unless ``real_pairs`` lists them."""
    test_pairs: Path | None = None
    """Table of the real pairs that networks are tested on, instead of both folders."""
    real_pairs: Path | None = None
    """Table of the real pairs to train on, instead of both folders."""

    @property
    def has_real(self) -> bool:
        """Whether there are real pairs to train on."""
        return self.real_lr is not None or self.real_pairs is not None

    def scale(self) -> int:
        """Return HR size / LR size of the first test pair; DataError where it is no whole number."""
        pair = find(self.test_hr, self.test_lr, self.test_pairs).pairs[0]
        scale = scale_of(images.read(pair.hr), images.read(pair.lr))
        if scale is None:
            raise DataError(f"{pair.hr} is no whole multiple of {pair.lr}; give HR and LR images of the same scenes")
        return scale

    def real(self, text: str) -> Pairs:
        """Return the real pairs to train on; ConfigError, which names ``text``, where there are none."""
        if self.real_pairs is not None:
            return Pairs(pairs=str(self.real_pairs))
        if self.real_lr is None:
            raise ConfigError(f"`train={text}` needs real LR images to train on", "give `real_lr`")
        return Pairs(hr=str(self.real_hr or self.hr), lr=str(self.real_lr))


@dataclass(frozen=True)
class Contestant:
    """LR of one kind, on which networks are trained."""

    label: str
    """The text that it was given by."""
    pairs: tuple[Pairs, ...]

    @property
    def made(self) -> Pairs | None:
        """What makes LR images of HR images here; None where all LR images are read."""
        return next((pairs for pairs in self.pairs if not pairs.read), None)


def parse(text: str, folders: Folders) -> Contestant:
    """Read ``bicubic``, ``real``, a data set's folder, a model with its noise, or ``real+`` and one of these.

    ConfigError says what is wrong with the text.
    """
    if text.startswith(REAL):
        rest = parse(text.removeprefix(REAL), folders)
        if len(rest.pairs) > 1 or rest.label == ORACLE:
            raise ConfigError(f"`train={text}`: write real+ once, before bicubic, a data set or a model")
        return Contestant(text, (folders.real(text), *rest.pairs))
    if text == BICUBIC:
        return Contestant(text, (Pairs(hr=str(folders.hr)),))
    if text == ORACLE:
        return Contestant(text, (folders.real(text),))
    dataset = Path(text)
    if (dataset / "hr").is_dir() and (dataset / "lr").is_dir():
        return Contestant(text, (Pairs(hr=str(dataset / "hr"), lr=str(dataset / "lr")),))
    return Contestant(text, (parse_model(text, str(folders.hr)),))


def contestants(texts: list[str], folders: Folders) -> list[Contestant]:
    """Read all texts. Bicubic LR is always the first, and the real LR, where there is some, the last."""
    inner = [text for text in dict.fromkeys(texts) if text not in (BICUBIC, ORACLE)]
    last = [ORACLE] if folders.has_real or ORACLE in texts else []
    return [parse(text, folders) for text in (BICUBIC, *inner, *last)]


def short_names(texts: Sequence[str]) -> list[str]:
    """Return what each text is called in tables and pictures: without the folders that a model or a data set lies in.

    A checkpoint in a run is called by the name of the run. Texts that would have the same name keep all they say.
    """
    names = [_short(text) for text in texts]
    count = Counter(names)
    return [name if count[name] == 1 else text for name, text in zip(names, texts, strict=True)]


def _short(text: str) -> str:
    if text.startswith(REAL):
        return REAL + _short(text.removeprefix(REAL))
    found = OPTIONS.match(text)
    assert found is not None  # the pattern matches every line
    path = Path(found["model"])
    name = path.parent.name if path.name == "checkpoint.pt" else path.name
    return f"{name}:{found['options']}" if found["options"] else name or text
