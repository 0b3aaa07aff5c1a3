"""What the code of a checkpoint may do: operators on tensors, and nothing that touches files, processes or networks.

The code is examined as torch compiled it, after the file is loaded and before any of it runs. This stops a file whose
code names an operator with an effect outside the model. It is no sandbox: it does not bound time or memory, and relies
on torch's own operators being free of faults.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from degsynth.errors import CheckpointError


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FLOW = _names(
    """
    CallFunction CallMethod Constant CreateObject DictConstruct Enter EnumName EnumValue Exit GetAttr If
    ListConstruct ListUnpack Loop ModuleContainerIndex NumToTensor Param RaiseException Return SetAttr StringIndex
    TupleConstruct TupleIndex TupleSlice TupleUnpack Uninitialized abs data device dtype hasattr id index is_cpu
    is_cuda is_meta is_mkldnn is_mps is_nested is_quantized is_sparse is_xpu isinstance itemsize layout max min
    name nbytes rangelist requires_grad tolist type unchecked_cast unchecked_unwrap_optional
    """
)
"""Operators of the namespace ``prim`` that may be used: the flow of a program, and the facts of a tensor."""
PRIVATE = _names(
    """
    __and__ __contains__ __derive_index __getitem__ __iand__ __interpolate __ior__ __is__ __isnot__ __ixor__
    __lshift__ __not__ __or__ __range_length __round_to_zero_floordiv __rshift__ __upsample __upsample_bilinear
    __upsample_nearest __xor__ _cast_Byte _cast_Double _cast_Float _cast_Int _cast_Long _convolution
    _convolution_mode _fft_c2c _fft_c2r _fft_r2c _infer_size _log_softmax _set_item _shape_as_tensor
    _size_if_not_equal _softmax _unique2 _unwrap_optional _upsample_bicubic2d_aa _upsample_bilinear2d_aa
    _upsample_lanczos2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
    _weight_norm
    """
)
"""Operators of the namespace ``aten`` with an underscore that may be used; all other such operators are refused."""
WITH_TEXT = _names(
    """
    Delete Float Int __contains__ __getitem__ __interpolate __upsample _convolution_mode _set_item add any
    capitalize center clear conv1d conv2d conv3d copy count device dict div div_ divide divide_ einsum endswith eq
    expandtabs fft_fft fft_fft2 fft_fftn fft_hfft fft_hfft2 fft_hfftn fft_ifft fft_ifft2 fft_ifftn fft_ihfft
    fft_ihfft2 fft_ihfftn fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn find format ge gelu gelu_
    get get_autocast_dtype gt index index_reduce index_reduce_ isalnum isalpha isdecimal isdigit isidentifier
    islower isnumeric isprintable isspace istitle isupper items join keys le len linalg_cond linalg_eigh
    linalg_eigvalsh linalg_lstsq linalg_matrix_norm linalg_norm linalg_qr linalg_svd linalg_svdvals list ljust
    lower lstrip lt meshgrid nanquantile ne ord pad pad_sequence partition percentFormat pop popitem quantile
    remove replace rfind rindex rjust rpartition rsplit rstrip scatter scatter_ scatter_reduce scatter_reduce_
    searchsorted segment_reduce setdefault slice sort sorted split splitlines startswith stft str strip swapcase
    title update upper values warn zfill
    """
)
"""Operators of ``aten`` that may be used though they take a text: the name of a mode, or something to say. An operator
without a text cannot name a file."""
WARNING = "aten::warn"
"""The operator that shows a text to the user; functions of torch.nn use it."""
OUTSIDE = re.compile(r"\b(Storage|Stream|Future|RRef|torch\.classes)\b")
"""Types of arguments that reach outside a model's own tensors."""
NOT_FOR_MODELS = frozenset({"record_stream", "seed", "set_", "from_file", "save"})
"""Operators that are refused whatever their arguments."""
INNER = re.compile(r"(fbgemm|mkldnn|miopen|cudnn|mps|quantized|sparse)_|.*_(backward|overrideable)")
"""Operators that torch calls by itself and no model needs. Some take a tensor for an address without looking at it."""


def check(unit: Any, path: Path) -> None:
    """Raise CheckpointError, which names the operator, where a function uses one that is not allowed.

    ``unit`` is torch's CompilationUnit of the loaded file: all functions and methods of it, of whatever class.
    """
    checked: set[str] = set()
    while functions := [function for function in unit.get_functions() if function.qualified_name not in checked]:
        for function in functions:  # asking for a graph compiles it, which may bring more functions into the unit
            checked.add(function.qualified_name)
            for node in _nodes(function.graph):
                if not allowed(node.kind(), _schema(node)) or (node.kind() == WARNING and not _is_plain(node)):
                    raise CheckpointError(
                        f"{path}: its code uses the operator {node.kind()}, which a model must not",
                        "do not use the file",
                    )


def _nodes(block: Any) -> Iterator[Any]:
    """Yield all nodes of a graph or block, those of its inner blocks included."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _is_plain(node: Any) -> bool:
    """Tell whether a warning is a text that is known now, and cannot command the terminal on which it will appear."""
    text = next(node.inputs()).toIValue()
    return isinstance(text, str) and text.isprintable()


def _schema(node: Any) -> str:
    schema: str = node.schema()
    return "" if schema == "(no schema)" else schema


@lru_cache(maxsize=4096)
def allowed(kind: str, schema: str) -> bool:
    """Tell whether a model may use an operator, e.g. ``aten::conv2d``, with the schema in which it is used."""
    namespace, _, name = kind.partition("::")
    if namespace == "prim":
        return name in FLOW
    if namespace != "aten" or not schema or name in NOT_FOR_MODELS or INNER.match(name):
        return False
    if name.startswith("_") and name not in PRIVATE:
        return False
    arguments = schema.partition("->")[0]
    if OUTSIDE.search(arguments):
        return False
    return name in WITH_TEXT or re.search(r"\bstr\b", arguments) is None
