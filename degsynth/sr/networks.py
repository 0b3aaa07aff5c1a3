"""The table of networks, and the file in which a trained one is kept.

A new network is a module in `degsynth.nets` and one entry of `NETWORKS`, where the command line and the tests find it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from degsynth import __version__
from degsynth.config import Interval, Strict, nearest
from degsynth.errors import CheckpointError, ConfigError, FitError
from degsynth.files import write_atomic
from degsynth.model import checkpoint
from degsynth.model.inference import inference
from degsynth.nets.edsr import EDSR
from degsynth.nets.vdsr import VDSR

Colours = Literal["luma", "rgb"]
"""What a network sees: luma alone, as most papers train and score, or all three channels."""
SCALES = (1, 2, 3, 4)
"""Scales that networks can have. At scale 1 the LR images have the size of the HR images."""
RECORD = "degsynth_sr.json"
"""Name of the record inside the file of a network."""
NETWORK, WEIGHTS = "network.pt", "weights.pth"
"""Names of the two files of a trained network: TorchScript, and the state dict."""
LARGEST_ERROR = 1e-6
"""Largest difference between a network and its file, loaded again."""


@dataclass(frozen=True)
class Network:
    """An entry of the table of networks."""

    build: Callable[[int, int], nn.Module]
    """Makes the network of a scale and a number of channels (1 or 3)."""
    halo: int
    """LR px that an output pixel depends on, to each side."""
    steps: int
    """Usual number of training steps."""
    learning_rate: float
    """Largest learning rate, where the user gives none."""
    about: str
    """One line for the user."""


NETWORKS = {
    "default": Network(
        lambda scale, channels: EDSR(scale, channels, blocks=6, features=32, skip=True),
        halo=20,
        steps=2500,
        learning_rate=1e-3,
        about="a small EDSR (6 blocks, 32 features) on top of the bicubic enlargement; trains in minutes on a CPU",
    ),
    "edsr": Network(
        EDSR, halo=42, steps=20_000, learning_rate=2e-4, about="the EDSR baseline (16 blocks, 64 features)"
    ),
    "vdsr": Network(
        VDSR,
        halo=22,
        steps=20_000,
        learning_rate=2e-4,
        about="VDSR (20 layers, 64 features) on the bicubic enlargement",
    ),
}
"""The networks, by the name that users give."""


def get(name: str) -> Network:
    """Return an entry of the table. ConfigError for an unknown name suggests the most similar one."""
    if name not in NETWORKS:
        raise ConfigError(f"there is no network '{name}'; {nearest(name, list(NETWORKS))}")
    return NETWORKS[name]


def parameter_count(module: nn.Module) -> int:
    """Count the numbers that a network learns."""
    return sum(parameter.numel() for parameter in module.parameters())


class Record(Strict):
    """What the file of a network says of it."""

    degsynth_version: str = __version__
    net: str
    """Name in the table of networks."""
    scale: int
    """HR size / LR size."""
    colours: Colours
    """What the network takes and gives: luma (1 channel) or rgb (3), in [0, 1]."""
    halo: int
    """LR px that an output pixel depends on, to each side."""
    data_range: tuple[float, float] | None = None
    """Black and white of 16-bit and float files; None: the whole range of the type."""
    parameters: int
    """Number of learnt numbers."""

    @property
    def interval(self) -> Interval | None:
        """The data range as other rooms take it."""
        return None if self.data_range is None else Interval(*self.data_range)


@dataclass(frozen=True)
class Trained:
    """A network that is ready to run, and what its file says of it."""

    module: Callable[[Tensor], Tensor]
    record: Record
    device: str = "cpu"


def save(module: nn.Module, record: Record, folder: Path) -> None:
    """Write ``network.pt`` (TorchScript with its record) and ``weights.pth`` (a state dict under ``params``).

    The first is loaded again and compared with the module before it takes its place; FitError where they differ.
    """
    module = module.eval().cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    path = folder / NETWORK
    content = checkpoint.script_bytes(module, RECORD, record.model_dump_json())
    loaded, _ = checkpoint.load_script(content, RECORD, path)
    probe = torch.rand(1, 1 if record.colours == "luma" else 3, 17, 13, generator=torch.Generator().manual_seed(1))
    with inference():
        expected, actual = module(probe), loaded(probe)
    error = float((expected - actual).abs().max())
    if not error <= LARGEST_ERROR or math.isnan(error):
        raise FitError(f"{path}: the exported file differs from the trained network by {error:.2g}")
    buffer = io.BytesIO()
    torch.save({"params": {name: value.clone() for name, value in module.state_dict().items()}}, buffer)
    write_atomic(folder / WEIGHTS, buffer.getvalue())
    write_atomic(path, content)


def load(name: Path, device: str = "cpu") -> Trained:
    """Load a trained network from its file or its run directory; CheckpointError names what is wrong."""
    path = name / NETWORK if name.is_dir() else name
    if name.is_dir() and not path.is_file():
        raise CheckpointError(
            f"{name} holds no {NETWORK}: it is no run of 'degsynth sr train', or its training has not ended",
            f"go on with it: degsynth sr train --resume --out {name}",
        )
    module, text = checkpoint.load_script(checkpoint.read_file(path), RECORD, path, device)
    try:
        record = Record.model_validate_json(text)
    except ValueError:
        raise CheckpointError(f"{path}: its {RECORD} cannot be read; train the network anew") from None
    return Trained(module, record, device)
