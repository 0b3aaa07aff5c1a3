"""How models are run: without gradients, and without torch's just-in-time optimiser where that only costs time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def inference() -> Iterator[None]:
    """Run what follows in this thread without gradients and, on a CPU, as TorchScript was written.

    The optimiser of TorchScript watches the first runs of a function and compiles it anew. On a CPU that takes half a
    second for each model that is loaded and gains nothing: the operators are the same, and so are the bytes of the LR.
    On a GPU it joins element-wise operators; there it stays on.
    """
    on_a_gpu: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.inference_mode(), torch.jit.optimized_execution(on_a_gpu):  # type: ignore[attr-defined]
        yield
