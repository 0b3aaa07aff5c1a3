"""The local engine: one thread for each image, one torch thread for each operation.

On a GPU every thread has a CUDA stream of its own: what one thread copies, draws or encodes happens while others
compute.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch

from degsynth.parallel import Finished, Item, Result, one_torch_thread, stream


def run(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, on_leave: Callable[[], None]
) -> Iterator[Finished[Item, Result]]:
    """Call ``work`` on every item, see `degsynth.parallel.stream`."""
    with one_torch_thread():
        yield from stream(items, work, workers, on_leave)


class WorkerStreams:
    """Gives each thread a CUDA stream of its own, so threads share no cached GPU memory. Does nothing on the CPU."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._local = threading.local()

    def current(self) -> AbstractContextManager[Any]:
        """Return a context in which this thread's work is queued on its own stream."""
        if self._device == "cpu":
            return contextlib.nullcontext()
        if not hasattr(self._local, "stream"):
            self._local.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return torch.cuda.stream(self._local.stream)
