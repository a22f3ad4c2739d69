"""Writes a small Caffe model as the .caffemodel that Caffe's snapshots are: a protobuf message.

It is put together by hand, so that OpenCV's reading of it is proved without Caffe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def caffemodel(weights: Mapping[str, Sequence[Any]]) -> bytes:
    """The file of a network: for each layer's name its arrays, as weights and bias."""
    network = b""
    for name, arrays in weights.items():
        layer = _field(1, name.encode()) + b"".join(_field(7, _blob(array)) for array in arrays)
        network += _field(100, layer)  # NetParameter.layer
    return network


def _blob(array: Any) -> bytes:
    """BlobProto: its shape (7), whose dimensions are field 1, and its data (5), packed floats."""
    shape = _field(1, b"".join(_varint(length) for length in array.shape))
    return _field(7, shape) + _field(5, array.astype("<f4").tobytes())


def _field(number: int, content: bytes) -> bytes:
    """A field of length-delimited content."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    head = b""
    while value > 127:
        head += bytes([value & 127 | 128])
        value >>= 7
    return head + bytes([value])
