"""Free functions on tensors. Those that run inside a checkpoint (blur, noise, resample) are written in TorchScript.

TorchScript accepts annotations with ``X | None`` and ``list[int]``, plain attributes, and `torch.nn.Buffer`. It does
not accept keyword-only arguments with defaults, ``**kwargs``, ``Literal``, annotations in a class body, empty lists as
attributes, ``int ** int`` where an int is needed (the result is a float), dataclasses read inside ``forward``, or
NumPy. It also takes ``torch.Generator()`` for a constant that all threads share: use `noise.generator` instead.
`least_squares` and `kernels` work on float64 and are ordinary Python.
"""
