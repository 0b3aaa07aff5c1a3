"""Free functions on tensors. Those that run inside a checkpoint (blur, noise, resample) are TorchScript.

What TorchScript takes: annotations with ``X | None`` and ``list[int]``, plain attributes, `torch.nn.Buffer`. What it
does not: keyword-only arguments with defaults, ``**kwargs``, ``Literal``, annotations in a class body, empty lists as
attributes, ``int ** int`` where an int is needed (it gives a float), dataclasses read inside ``forward``, NumPy. And
``torch.Generator()`` it takes for a constant that all threads share: draw from `noise.generator`.
`least_squares` and `kernels` work on float64 and are ordinary Python.
"""
