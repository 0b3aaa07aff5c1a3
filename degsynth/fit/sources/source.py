"""What a fit is given, pairs, two folders or photographs alone, seen alike by `degsynth.fit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from degsynth.evaluation.held_out import Judge
from degsynth.methods import Learned, Method
from degsynth.model.checkpoint import Checkpoint
from degsynth.reports.panels import Panel
from degsynth.reports.previews import Degrade


class Given(Protocol):
    """Images to fit to, and held-out ones to judge the fit by."""

    scale: int
    channels: int
    dtype: str
    data_range: tuple[float, float] | None
    notes: list[str]
    """What was found that a user should know."""
    references: dict[str, Checkpoint]
    """Models that a learned method is compared with, by name."""
    no_references: str
    """Why there are none, where there could be."""

    def fingerprint(self) -> str:
        """SHA-256 over the names and bytes of all files."""

    def prepare(self, method: Method, kept: Path | None = None) -> None:
        """Let the method estimate what it needs no gradients for; of a resumed fit ``kept`` holds what `keep` wrote."""

    def keep(self, out: Path) -> None:
        """Write into the run directory what was estimated, if it takes long."""

    def refer(self) -> None:
        """Make the references."""

    def batches(self, method: Learned, name: str, device: str) -> tuple[Callable[[int], dict[str, Tensor]], int]:
        """What makes the batch of a step, and the side of its patches, HR px. DataError where images are too small."""

    def judge(self, method: Learned, device: str) -> Judge:
        """What training is steered by."""

    def evaluate(
        self, method: Method, model: Checkpoint, on_progress: Callable[[str, int, int], None]
    ) -> dict[str, Any]:
        """Figures on held-out images: ``mean`` by model, ``images`` and what else there is."""

    def rows(self, degrade: Degrade, count: int) -> list[list[Panel]]:
        """Pictures of held-out images."""

    def samples(self, count: int) -> Sequence[Tensor]:
        """Some held-out HR images (C, H, W)."""

    def facts(self) -> dict[str, Any]:
        """Which images were fitted, held out, left out."""

    def warnings(self, mean: Mapping[str, Mapping[str, float]]) -> list[str]:
        """What a user should not overlook in them, and in the figures of `evaluate`."""

    def told(self, mean: Mapping[str, Mapping[str, float]]) -> str:
        """The figures of `evaluate` in one line."""
