"""Fitted models of every method as ONNX files, with the noise and the tone curve that fits add."""

from __future__ import annotations

from pathlib import Path

import pytest

from degsynth import methods
from degsynth.model import checkpoint
from degsynth.onnx_export import export
from tests.methods.conftest import SharedFits
from tests.onnx_export.test_export import assert_equal


@pytest.mark.parametrize("name", methods.METHODS)
def test_fitted_models_can_be_exported(name: str, shared_fits: SharedFits, tmp_path: Path) -> None:
    model = checkpoint.load(shared_fits.run(name, 2) / "checkpoint.pt")
    export.write(model, tmp_path / "model.onnx")
    assert_equal(model, tmp_path / "model.onnx")
