"""What is told from what: a lack of memory from everything else."""

from __future__ import annotations

import errno

import cv2
import pytest

from degsynth.errors import DataError, is_out_of_memory

LACKS = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    OSError("libtorch_cpu.so: failed to map segment from shared object"),
    ImportError("libavcodec.so: failed to map segment from shared object: Cannot allocate memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 800 bytes."),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("could not create a primitive"),  # oneDNN, in a convolution
    RuntimeError("can't start new thread"),
    cv2.error("OpenCV(4.10.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 800 bytes"),
]


@pytest.mark.parametrize("error", LACKS, ids=str)
def test_a_lack_of_memory(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOENT, "No such file", "out of memory.png"),
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("size mismatch"),
        DataError("photo.png: memory is too short for it", "out of memory is what it says of itself"),
    ],
    ids=str,
)
def test_something_else(error: Exception) -> None:
    assert not is_out_of_memory(error)
