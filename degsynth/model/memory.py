"""The memory that a degrader needs for an HR pixel: measured at export, used to choose the size of tiles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from degsynth.model.degrader import Degrader
from degsynth.model.inference import inference

SIDE = 512
"""Side of the image with which the memory is measured, HR px, rounded up to what the model takes."""


class LiveBytes(TorchDispatchMode):
    """A context that counts the bytes of all tensors made by operations, for as long as somebody holds them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: int = 0
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._held = {key: kept for key, kept in self._held.items() if not kept[0].expired()}  # type: ignore[no-untyped-call]
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                held = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                self._held[storage._cdata] = held, storage.nbytes()
        self.peak = max(self.peak, sum(count for _, count in self._held.values()))
        return result


def bytes_per_pixel(degrader: Degrader, scale: int, channels: int) -> int:
    """Return the peak memory of `clean` and `noise`, the HR image included, divided by the number of HR pixels."""
    side = math.ceil(SIDE / degrader.multiple_of) * degrader.multiple_of
    live = LiveBytes()
    with inference(), live:
        hr = torch.zeros(1, channels, side, side)
        code = degrader.draw(0, side // scale, side // scale)
        degrader(hr, code, degrader.field(0, 0, 0, side // scale, side // scale, channels))
    return math.ceil(live.peak / side**2)
