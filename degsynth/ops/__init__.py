"""Free functions on tensors. Those that run inside a checkpoint (blur, noise, resample) are TorchScript.

What TorchScript takes: annotations with ``X | None`` and ``list[int]``, plain attributes, ``torch.Generator``. What it does
not: keyword-only arguments with defaults, ``**kwargs``, ``Literal``, dataclasses read inside ``forward``, NumPy.
`least_squares` and `kernels` work on float64 and are ordinary Python.
"""
