"""The pickles of a checkpoint, walked through before torch reads them.

A pickle is a list of instructions. Torch's reader allocates whatever an instruction declares, believes the length of a
storage, and ends the process where values are nested too deeply. So the instructions are followed here first, without
making any object: only those that torch writes are known, and lengths must be those of the archive.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

DEEPEST = 100
"""Deepest nesting of values."""
ITEM_SIZES = {
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage"), 1),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}
"""Bytes of a number, by torch's name for a storage of such numbers."""
BUILDERS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
REBUILD = "torch._utils._rebuild_tensor_v2"
KNOWN = frozenset(
    {REBUILD, "collections.OrderedDict", "torch.device"}
    | {f"torch.{name}" for name in ITEM_SIZES}
    | {f"torch.jit._pickle.{name}" for name in BUILDERS}
)
"""Names that a pickle may call, beside the classes of the checkpoint's own code."""
OWN, CUSTOM = "__torch__.", ".torch.classes."
"""What the names of the code's own classes begin with, and what those of classes written in C++ contain."""


@dataclass(frozen=True)
class _Name:
    """A class or function, by its full name."""

    text: str


@dataclass(frozen=True)
class _Storage:
    """Numbers in a member of the archive."""

    numel: int


@dataclass
class _Cell:
    """A value on the stack: a plain one (number, text, tuple, `_Name`, `_Storage`), or None for any other."""

    value: Any = None
    depth: int = 0
    """How deep the values inside it are nested."""
    remembered: bool = False
    """Whether it can be fetched again. Nothing is added to such a value, so values cannot contain themselves."""


def check(content: bytes, members: Mapping[str, bytes]) -> None:
    """Raise ValueError where a pickle is none that torch writes, or declares other lengths than ``members`` have.

    ``members`` are the contents of the archive by name; storages are those named ``data/…``.
    """
    try:
        _Walk(content, members).follow()
    except (IndexError, KeyError, TypeError, AttributeError, UnicodeError, OverflowError) as error:
        raise ValueError(f"a pickle is damaged ({type(error).__name__})") from None


class _Walk:
    """The stack and the memory of one pickle."""

    def __init__(self, content: bytes, members: Mapping[str, bytes]) -> None:
        self._content, self._members = content, members
        self._stack: list[_Cell] = []
        self._marks: list[int] = []
        self._memory: dict[int, _Cell] = {}
        self._steps: dict[str, Callable[[], None]] = {
            "MARK": lambda: self._marks.append(len(self._stack)),
            "EMPTY_TUPLE": lambda: self._push(()),
            "EMPTY_LIST": lambda: self._push(None),
            "EMPTY_DICT": lambda: self._push(None),
            "TUPLE": lambda: self._tuple(self._marked()),
            "TUPLE1": lambda: self._tuple(self._popped(1)),
            "TUPLE2": lambda: self._tuple(self._popped(2)),
            "TUPLE3": lambda: self._tuple(self._popped(3)),
            "APPEND": lambda: self._add(self._popped(1)),
            "APPENDS": lambda: self._add(self._marked()),
            "SETITEM": lambda: self._add(self._popped(2)),
            "SETITEMS": lambda: self._add(self._marked()),
            "BUILD": lambda: self._add(self._popped(1)),
            "NEWOBJ": lambda: self._call(*self._popped(2)),
            "REDUCE": lambda: self._call(*self._popped(2)),
            "BINPERSID": lambda: self._push(self._storage(*self._popped(1)[0].value)),
            "NONE": lambda: self._push(None),
            "NEWTRUE": lambda: self._push(None),
            "NEWFALSE": lambda: self._push(None),
        }

    def follow(self) -> None:
        """Follow all instructions."""
        for code, given, _ in pickletools.genops(self._content):
            name, argument = code.name, cast(Any, given)
            if name in self._steps:
                self._steps[name]()
            elif name in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"):
                self._push(argument)
            elif name in ("BINPUT", "LONG_BINPUT"):
                self._remember(argument)
            elif name in ("BINGET", "LONG_BINGET"):
                self._stack.append(self._memory[argument])
            elif name == "GLOBAL":
                self._push(_known(str(argument).replace(" ", ".")))
            elif name not in ("PROTO", "STOP"):
                raise ValueError(f"a pickle has the instruction {name}, which torch does not write")

    def _push(self, value: Any, depth: int = 0) -> None:
        if depth > DEEPEST:
            raise ValueError(f"its values are nested deeper than {DEEPEST}")
        self._stack.append(_Cell(value, depth))

    def _popped(self, count: int) -> list[_Cell]:
        if len(self._stack) - (self._marks[-1] if self._marks else 0) < count:
            raise IndexError
        cells = self._stack[-count:]
        del self._stack[-count:]
        return cells

    def _marked(self) -> list[_Cell]:
        mark = self._marks.pop()
        cells = self._stack[mark:]
        del self._stack[mark:]
        return cells

    def _remember(self, number: int) -> None:
        if number > len(self._content):  # torch's memory is a list of this length
            raise ValueError(f"a pickle numbers its values up to {number}")
        self._stack[-1].remembered = True
        self._memory[number] = self._stack[-1]

    def _tuple(self, cells: list[_Cell]) -> None:
        self._push(tuple(cell.value for cell in cells), 1 + _deepest(cells))

    def _add(self, cells: list[_Cell]) -> None:
        """Put values into the list, dictionary or object below them."""
        into = self._stack[-1]
        if into.remembered or into.value is not None:
            raise ValueError("a pickle changes a value that is finished")
        into.depth = max(into.depth, 1 + _deepest(cells))
        if into.depth > DEEPEST:
            raise ValueError(f"its values are nested deeper than {DEEPEST}")

    def _call(self, function: _Cell, arguments: _Cell) -> None:
        """Follow a call of a class or builder."""
        if not isinstance(function.value, _Name) or not isinstance(arguments.value, tuple):
            raise ValueError("a pickle calls what is no name")
        if function.value.text == REBUILD:
            _check_tensor(*arguments.value[:4])
        self._push(None, 1 + arguments.depth)

    def _storage(self, kind: object, type_: _Name, key: str, device: object, numel: int) -> _Storage:
        """Return the storage that a pickle names, after comparing its length with what the archive has."""
        size = ITEM_SIZES[type_.text.removeprefix("torch.")]
        if kind != "storage" or not 0 <= numel * size <= len(self._members[f"data/{key}"]):
            raise ValueError(f"storage {key} is declared larger than it is")
        return _Storage(numel)


def _known(name: str) -> _Name:
    if name not in KNOWN and (not name.startswith(OWN) or CUSTOM in name):
        raise ValueError(f"a pickle names {name}, which a model must not")
    return _Name(name)


def _deepest(cells: list[_Cell]) -> int:
    return max((cell.depth for cell in cells), default=0)


def _check_tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    """Raise ValueError where a tensor does not lie in its storage: torch would make the storage larger."""
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
        raise ValueError("a tensor has an impossible shape")
    last = offset + sum((count - 1) * stride for count, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.numel:
        raise ValueError("a tensor is declared larger than its storage")
