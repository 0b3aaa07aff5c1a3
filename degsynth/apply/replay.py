"""Making the outputs of another data set again, from its manifest and ``dataset.json``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from degsynth.apply.dataset_folder import DATASET_NAME, described
from degsynth.apply.layouts.names import PlannedOutput
from degsynth.apply.manifest import FILE_NAME, Manifest, Row
from degsynth.config import Interval, Strict, build
from degsynth.errors import ConfigError, DataError, shortened
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Noise, ShotRead
from degsynth.model.mixture import Mixture
from degsynth.ops.noise import RANDOM_VERSION


class MixedModel(Strict):
    """One of several models, of which one was drawn for each LR image."""

    sha256: str
    method: str
    weight: float


class NoiseModel(Strict):
    """The model whose noise was added."""

    sha256: str
    method: str
    scale: int


class MadeBy(Strict):
    """The settings in ``dataset.json`` that decide the bytes of the outputs (see `degsynth.apply.stages`).

    One that is not known here would change the bytes in a way that nobody can repeat, so it is an error.
    """

    model_sha256: str = ""
    """SHA-256 of the model; empty where there were several."""
    method: str = ""
    models: tuple[MixedModel, ...] = ()
    """The models of a mixture, in the order of their SHA-256."""
    scale: int
    seed: int
    draws: int
    noise: Literal["learned", "other", "none"]
    noise_model: NoiseModel | None = None
    awgn: tuple[float, float] | None = None
    awgn_luma: bool = False
    shot_read: tuple[tuple[float, float], tuple[float, float]] | None = None
    hardware_factor: tuple[float, float] | None = None
    data_range: tuple[float, float] | None = None
    jpeg: Literal["learned"] | tuple[int, int] | None = None
    jpeg_files: bool = False
    to_srgb: bool = False
    crop: int | None = None
    step: int | None = None
    random: int | None = None
    """Version of the random numbers that do not come from the model, where there are any."""


@dataclass(frozen=True)
class Replay:
    """The outputs of a data set that are made again, and how."""

    path: Path
    """The manifest."""
    rows: tuple[Row, ...]
    """Its rows of outputs that were made."""
    made_by: MadeBy
    environment: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Replay:
        """Read a manifest, or that of a folder, and ``dataset.json`` beside it.

        ConfigError where they are not there, or where the data set was made with settings that are not known here;
        DataError where the manifest is damaged.
        """
        folder = path if path.is_dir() else path.parent
        if not (folder / FILE_NAME).is_file() or path not in (folder, folder / FILE_NAME):
            raise ConfigError(f"`replay={path}`: give a {FILE_NAME}, or the data set that holds it")
        description = described(folder)
        if description is None:
            raise ConfigError(f"`replay={path}`: there is no valid {DATASET_NAME} beside it, which has the options")
        made_by = build(MadeBy, description.made_by, str(folder / DATASET_NAME))
        drawn = made_by.awgn or made_by.shot_read or made_by.hardware_factor or made_by.models
        if drawn and made_by.random != RANDOM_VERSION:
            raise ConfigError(
                f"`replay={path}`: its white noise, hardware factors or choice of models are random numbers of an "
                "earlier version",
                "replay it with the version of degsynth that dataset.json names",
            )
        rows = {row.key: row for row in Manifest(folder).read()}
        made = tuple(row for row in rows.values() if row.status == "ok")
        if not made:
            raise ConfigError(f"`replay={path}`: it names no output that was made")
        _check_names(made, folder / FILE_NAME)
        return cls(folder / FILE_NAME, made, made_by, description.environment)

    def check_model(self, model: Checkpoint | Mixture) -> None:
        """Raise ConfigError where the data set was made by another model, or by models with other weights."""
        mixture, recorded = Mixture.of(model), self.made_by.models
        if not recorded and len(mixture.models) == 1:
            self._check(mixture.models[0], self.made_by.model_sha256, "the model")
            return
        given = [(model.sha256, weight) for model, weight in zip(mixture.models, mixture.weights, strict=True)]
        if given != [(model.sha256, model.weight) for model in recorded]:
            models = ", ".join(f"{one.weight:g} of {one.sha256} ({one.method})" for one in recorded)
            made = f"a mixture: {models}" if models else f"one model, of SHA-256 {self.made_by.model_sha256}"
            raise ConfigError(f"{self.path} was made with {made}", "give the same as MODEL")

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Say in errors about settings that they stand in ``dataset.json``: nobody has given them as options."""
        try:
            yield
        except ConfigError as error:
            raise ConfigError(f"{self.path.with_name(DATASET_NAME)}: {error.message}", error.hint) from None

    def noise(self, other: Checkpoint | None) -> Noise:
        """Return the noise that was added; ``other`` is the model whose noise it was. ConfigError where it is not."""
        recorded = self.made_by.noise_model
        if recorded is None and other is not None:
            raise ConfigError(f"{self.path} was made without the noise of another model", f"leave {other.path} out")
        if recorded is not None:
            if other is None:
                raise ConfigError(
                    f"{self.path} was made with the noise of another model ({recorded.method}, SHA-256 "
                    f"{recorded.sha256})",
                    "give that model for the noise",
                )
            self._check(other, recorded.sha256, "the model of the noise")
        awgn, shot_read = self.made_by.awgn, self.made_by.shot_read
        with self.named():
            return Noise(
                self.made_by.noise != "none",
                other,
                None if awgn is None else Interval(*awgn),
                self.made_by.awgn_luma,
                None if shot_read is None else ShotRead(*(Interval(*part) for part in shot_read)),
            )

    def settings(self, other: Checkpoint | None = None) -> dict[str, Any]:
        """Return the settings of the run as options (`degsynth.apply.Options`); ``other`` is as in `noise`."""
        factor, levels, jpeg = self.made_by.hardware_factor, self.made_by.data_range, self.made_by.jpeg
        return {
            "seed": self.made_by.seed,
            "draws": self.made_by.draws,
            "noise": self.noise(other),
            "hardware_factor": None if factor is None else Interval(*factor),
            # Of a mixture, only some models may have learnt it: None is what each of them has.
            "jpeg": "none" if jpeg is None else Interval(*jpeg) if isinstance(jpeg, tuple) else None,
            "jpeg_files": self.made_by.jpeg_files,
            "to_srgb": self.made_by.to_srgb,
            "crop": self.made_by.crop,
            "step": self.made_by.step,
            "data_range": "dtype" if levels is None else Interval(*levels),
            "replay": self,
        }

    def plan(self, finished: Sequence[Row], limit: int | None) -> dict[str, list[PlannedOutput]]:
        """Return the outputs that are missing, by source, under the names of the manifest.

        Only the first ``limit`` sources are taken, where that is given.
        """
        done = {row.key for row in finished}
        planned: dict[str, list[PlannedOutput]] = {source: [] for source in sorted({row.source for row in self.rows})}
        for row in sorted(self.rows, key=lambda row: row.key):
            if row.key not in done:
                stem = _stem(str(row.lr))
                planned[row.source].append(PlannedOutput(row.source, row.draw, stem, row.page, row.crop))
        return {source: planned[source] for source in list(planned)[:limit] if planned[source]}

    def differences(self, rows: Sequence[Row]) -> list[str]:
        """Say for each output that is not the one of the manifest how it differs."""
        recorded = {row.key: row for row in self.rows}
        found = []
        for row in rows:
            before = recorded.get(row.key)
            if row.status != "ok" or before is None:
                continue
            if before.source_bytes not in (None, row.source_bytes):
                found.append(f"{row.source} has {row.source_bytes} bytes, and had {before.source_bytes}")
            elif row.lr_sha256 != before.lr_sha256:
                found.append(f"{row.lr} has another SHA-256")
            elif row.hr_sha256 != before.hr_sha256:
                found.append(f"{row.hr} has another SHA-256")
        return found

    def explain(self, differences: list[str], environment: dict[str, Any]) -> str:
        """Return a line about outputs that differ, and about what differs between the environments of both runs."""
        others = [
            f"{name} {self.environment.get(name)}, now {value}"
            for name, value in environment.items()
            if self.environment.get(name) != value
        ]
        made = f"; it was made with {', '.join(others)}" if others else ""
        return f"{len(differences)} outputs are not those of {self.path}, e.g. {differences[0]}{made}"

    def _check(self, model: Checkpoint, sha256: str, what: str) -> None:
        if model.sha256 != sha256:
            raise ConfigError(
                f"{what} {model.path} has the SHA-256 {model.sha256}, and {self.path} was made with {sha256}",
                "give that model",
            )


def _check_names(rows: Sequence[Row], manifest: Path) -> None:
    """Raise DataError where an output has no name, or two have the same: one would be written over the other.

    Names count without their ending, which follows from the images that are made.
    """
    names: set[str] = set()
    for row in rows:
        name = None if row.lr is None else _stem(row.lr)
        if name is None or name in names:
            fault = "no LR file" if row.lr is None else f"the LR file {shortened(row.lr)} of another output"
            raise DataError(f"{manifest}: {shortened(row.source)} has {fault}", "restore the manifest")
        names.add(name)


def _stem(lr: str) -> str:
    """Return the name of an LR file below ``lr/``, without its ending."""
    return PurePosixPath(lr).relative_to("lr").with_suffix("").as_posix()
