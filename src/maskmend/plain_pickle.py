"""Plain values out of a pickle, without unpickling: nothing that the file names is imported.

A pickle is a program for a small stack machine, and the ordinary reader runs it, calling whatever
it names.  Here the program is read with `pickletools.genops` (which executes nothing) and followed
on a stack of our own, in which a name is an inert token.  A token stands for one of the few
constructors below, which are written here; any other one ends the reading with an error.
"""

from __future__ import annotations

import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmend import files
from maskmend.errors import UnreadableFileError

MOST_BYTES = 1 << 28
"""A larger file is refused: the values that we read from pickles are descriptions, not images."""

MOST_PROTOCOL = 5

_NUMERIC = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|bool|\?)")


def read_plain_pickle(path: Path) -> Any:
    """The value in a pickle file, of any protocol, if it is made of plain values alone.

    Plain are None, bool, int, float, str, bytes, bytearray, list, tuple, dict, OrderedDict, set,
    frozenset, and NumPy scalars and arrays of bool, integer and float dtypes (as NumPy 1 and 2
    write them).  Raises MissingFileError; UnreadableFileError for everything else, a file that is
    cut off or above MOST_BYTES, and a pickle that names any other class or function.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise files.missing(path) from error
    if size > MOST_BYTES:
        raise _unreadable(path, f"{size} bytes")
    data = files.read_bytes(path)
    try:
        return plain_value(data)
    except _NotPlainError as error:
        raise _unreadable(path, str(error)) from error
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, AttributeError) as error:
        raise _unreadable(path, f"a broken pickle ({error or type(error).__name__})") from error


def plain_value(data: bytes) -> Any:
    """As `read_plain_pickle`, of bytes.  Raises an exception of no particular kind."""
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "STOP":
            return machine.result()
        machine.step(opcode.name, argument)
    raise ValueError("it ends without STOP")


class _NotPlainError(Exception):
    """The pickle holds something that is not a plain value."""


class _Mark:
    """Where a list of operands begins on the stack."""


class _Name:
    """A name that the pickle gives: known by its place in _KNOWN, and nothing is imported."""

    def __init__(self, module: Any, name: Any) -> None:
        self.full = f"{module}.{name}"
        if self.full not in _KNOWN:
            raise _NotPlainError(f"a pickle that names {self.full}, which is no plain value")


class _DType:
    """A NumPy dtype under construction."""

    def __init__(self, text: Any) -> None:
        if not isinstance(text, str) or not _NUMERIC.fullmatch(text):
            raise _NotPlainError(f"a NumPy array of dtype {text!r}, which is not numeric")
        self.dtype = np.dtype(text)

    def set_state(self, state: Any) -> None:
        """state: (version, byte order, subarray, names, fields, ...), the last three None."""
        if len(state) < 5 or any(part is not None for part in state[2:5]):
            raise _NotPlainError("a NumPy array of a structured dtype")
        if state[1] not in "<>|=":
            raise ValueError(f"byte order {state[1]!r}")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """A NumPy array under construction."""

    def __init__(self) -> None:
        self.values: NDArray[Any] = np.empty(0)

    def set_state(self, state: Any) -> None:
        """state: (version, shape, dtype, whether in Fortran order, bytes)."""
        _, shape, dtype, fortran, content = state
        self.values = _array(content, dtype, shape, "F" if fortran else "C")


class _Machine:
    """The stack machine of the pickle format, that only knows plain values."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        (value,) = self._stack
        return _finished(value)

    def step(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            self._stack.append(argument)
        elif name in _TUPLES:
            count = _TUPLES[name]
            self._need(count)
            self._stack[-count:] = [tuple(self._stack[-count:])]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif name == "PROTO":
            if argument > MOST_PROTOCOL:
                raise _NotPlainError(f"a pickle of protocol {argument}")
        elif name != "FRAME":
            action = _ACTIONS.get(name)
            if action is None:
                raise _NotPlainError(
                    f"a pickle with the instruction {name}, which no plain value needs"
                )
            action(self, argument)

    def _need(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError("an instruction without its operands")

    def _to_mark(self) -> list[Any]:
        """The operands above the last mark, which go with it."""
        place = max(i for i, value in enumerate(self._stack) if value is _Mark)
        operands = self._stack[place + 1 :]
        del self._stack[place:]
        return operands

    def memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def mark(self, _: Any) -> None:
        self._stack.append(_Mark)

    def pop(self, _: Any) -> None:
        self._stack.pop()

    def pop_mark(self, _: Any) -> None:
        self._to_mark()

    def duplicate(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def list_of(self, _: Any) -> None:
        self._stack.append(self._to_mark())

    def tuple_of(self, _: Any) -> None:
        self._stack.append(tuple(self._to_mark()))

    def frozenset_of(self, _: Any) -> None:
        self._stack.append(frozenset(map(_finished, self._to_mark())))

    def dict_of(self, _: Any) -> None:
        self._stack.append(_filled({}, self._to_mark()))

    def append(self, _: Any) -> None:
        value = self._stack.pop()
        _of(self._stack[-1], list).append(value)

    def appends(self, _: Any) -> None:
        values = self._to_mark()
        _of(self._stack[-1], list).extend(values)

    def add_items(self, _: Any) -> None:
        values = self._to_mark()
        _of(self._stack[-1], set).update(map(_finished, values))

    def set_item(self, _: Any) -> None:
        self._need(3)
        key, value = self._stack[-2:]
        del self._stack[-2:]
        _filled(_of(self._stack[-1], dict), [key, value])

    def set_items(self, _: Any) -> None:
        items = self._to_mark()
        _filled(_of(self._stack[-1], dict), items)

    def name(self, argument: str) -> None:
        self._stack.append(_Name(*argument.split(" ", 1)))

    def name_on_stack(self, _: Any) -> None:
        name = self._stack.pop()
        self._stack.append(_Name(self._stack.pop(), name))

    def call(self, _: Any) -> None:
        """REDUCE, and NEWOBJ: what a name stands for, with its arguments."""
        arguments = _of(self._stack.pop(), tuple)
        name = _of(self._stack.pop(), _Name)
        self._stack.append(_KNOWN[name.full](*arguments))

    def build(self, _: Any) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if not isinstance(target, _DType | _Array):
            raise _NotPlainError("an object with a state of its own")
        target.set_state(state)


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set,
}  # fmt: skip
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MEMOIZE": _Machine.memoize,
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.duplicate,
    "LIST": _Machine.list_of,
    "TUPLE": _Machine.tuple_of,
    "FROZENSET": _Machine.frozenset_of,
    "DICT": _Machine.dict_of,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "ADDITEMS": _Machine.add_items,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_on_stack,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.build,
}


def _of(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{kind.__name__} expected, not {type(value).__name__}")
    return value


def _filled(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    keys, values = items[0::2], items[1::2]
    target.update(zip(map(_finished, keys), values, strict=True))
    return target


def _finished(value: Any, seen: dict[int, Any] | None = None) -> Any:
    """The value with what was under construction in it replaced; containers keep their identity."""
    seen = {} if seen is None else seen
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, _Name | _DType) or value is _Mark:
        raise _NotPlainError("a pickle of a class or a dtype, which is no plain value")
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, list):
        seen[id(value)] = value
        value[:] = [_finished(each, seen) for each in value]
    elif isinstance(value, dict):
        seen[id(value)] = value
        for key in value:
            value[key] = _finished(value[key], seen)
    elif isinstance(value, tuple):
        return tuple(_finished(each, seen) for each in value)
    return value


def _array(content: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    kind = _of(dtype, _DType).dtype
    shape = shape if isinstance(shape, tuple) else (shape,)
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise ValueError(f"an array of shape {shape}")
    if not isinstance(content, bytes | bytearray):
        raise _NotPlainError("a NumPy array whose values are objects")
    if order not in ("C", "F"):
        raise ValueError(f"an array in order {order!r}")
    # a copy: it can be written to, and owns its memory
    return np.frombuffer(content, kind).reshape(shape, order=order).copy(order=order)


def _scalar(dtype: Any, content: Any) -> Any:
    return _array(content, dtype, (1,), "C")[0]


def _empty_array(subtype: Any, shape: Any, kind: Any) -> _Array:
    if _of(subtype, _Name).full != "numpy.ndarray":
        raise _NotPlainError(f"an array of the class {subtype.full}")
    return _Array()


def _dtype(text: Any, align: Any = False, copy: Any = True) -> _DType:
    return _DType(text)


def _encoded(text: Any, encoding: Any = "utf-8") -> bytes:
    """How Python 3 writes bytes in protocols 0 to 2."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the encoding {encoding!r}")
    encoded: bytes = _of(text, str).encode("latin1")
    return encoded


def _no_call(*_: Any) -> Any:
    raise _NotPlainError("an array that is made by calling its class")


def _bytes(content: Any = b"") -> bytes:
    return bytes(_of(content, bytes | bytearray))  # type: ignore[arg-type]


def _items_of(kind: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    """A set from a list; anything else that Python would take is refused."""
    return lambda items=(): kind([_finished(each) for each in _of(items, list)] if items else [])


def _ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
    """Old pickles give the pairs as a list of lists; newer ones none, and set them afterwards."""
    made: OrderedDict[Any, Any] = OrderedDict()
    for key, value in pairs:
        made[_finished(key)] = value
    return made


_KNOWN: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "_codecs.encode": _encoded,
    "numpy.ndarray": _no_call,
    "numpy.dtype": _dtype,
}
for _builtins in ("builtins", "__builtin__"):
    _KNOWN[f"{_builtins}.set"] = _items_of(set)
    _KNOWN[f"{_builtins}.frozenset"] = _items_of(frozenset)
    _KNOWN[f"{_builtins}.bytes"] = _bytes
for _core in ("core", "_core"):
    _KNOWN[f"numpy.{_core}.multiarray._reconstruct"] = _empty_array
    _KNOWN[f"numpy.{_core}.multiarray.scalar"] = _scalar
    _KNOWN[f"numpy.{_core}.numeric._frombuffer"] = _array


def _unreadable(path: Path, got: str) -> UnreadableFileError:
    return UnreadableFileError(
        str(path), expected="a pickle of plain values and numeric NumPy arrays", got=got,
        remedy="It is not unpickled, since that could run any program; take the file out, or write "
        "it anew from its source.",
    )  # fmt: skip
