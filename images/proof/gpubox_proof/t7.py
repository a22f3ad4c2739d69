"""Writes a small Torch7 model as a .t7 file, byte for byte as `torch.save` of Lua Torch did.

Torch7 itself is no longer to be had; what people still have is its files, which OpenCV reads.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

NUMBER, STRING, TABLE, TORCH, BOOLEAN = 1, 2, 3, 4, 5


class Writer:
    """Objects one after the other, each with a number of its own."""

    def __init__(self) -> None:
        self.content = b""
        self.objects = 0

    def value(self, value: Any) -> None:
        """A number, a text, a truth, a table, a module, a tensor (or of whole numbers: a storage)."""
        import numpy as np

        match value:
            case bool():
                self._pack("ii", BOOLEAN, value)
            case int() | float():
                self._pack("id", NUMBER, value)
            case str():
                self._pack("i", STRING)
                self._text(value)
            case Module():
                self._head(TORCH, value.name)
                self.value(value.members)
            case np.ndarray() if value.dtype.kind == "i":
                self._storage("torch.LongStorage", value.astype("<i8"))
            case np.ndarray():
                self._tensor(np.ascontiguousarray(value, "<f4"))
            case _:
                self._head(TABLE)
                self._pack("i", len(value))
                for key, member in value.items():
                    self.value(key)
                    self.value(member)

    def _tensor(self, array: Any) -> None:
        self._head(TORCH, "torch.FloatTensor")
        strides = [stride // array.itemsize for stride in array.strides]
        self._pack(f"i{2 * array.ndim + 1}q", array.ndim, *array.shape, *strides, 1)  # Lua counts from 1
        self._storage("torch.FloatStorage", array)

    def _storage(self, name: str, array: Any) -> None:
        self._head(TORCH, name)
        self._pack("q", array.size)
        self.content += array.tobytes()

    def _head(self, kind: int, name: str = "") -> None:
        self.objects += 1
        self._pack("ii", kind, self.objects)
        if name:
            self._text("V 1")
            self._text(name)

    def _text(self, text: str) -> None:
        self._pack("i", len(text))
        self.content += text.encode()

    def _pack(self, form: str, *values: Any) -> None:
        self.content += struct.pack(f"<{form}", *values)


class Module:
    """One module of Torch7's nn: its class and its fields."""

    def __init__(self, name: str, members: Mapping[Any, Any]) -> None:
        self.name, self.members = name, members


def sequential(*modules: Module) -> bytes:
    """The file of a model that runs its modules one after the other."""
    writer = Writer()
    writer.value(Module("nn.Sequential", {"modules": dict(enumerate(modules, 1)), "train": False}))
    return writer.content
