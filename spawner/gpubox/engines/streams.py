"""The engine's answers as files to read: chunks, and archives that are changed on their way."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from typing import IO, Any, ParamSpec, TypeVar

import requests
from docker.errors import DockerException

from ..machine_templates import imagefile
from ..machine_templates.contents import left_out
from . import EngineError

# What goes wrong between an engine and us.
ERRORS = (DockerException, requests.RequestException, OSError, tarfile.TarError)

P = ParamSpec("P")
T = TypeVar("T")


def in_words(method: Callable[P, T]) -> Callable[P, T]:
    """What the engine tells of its errors as an `EngineError`."""

    @wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except ERRORS as error:
            words = str(getattr(error, "explanation", None) or error).strip()
            if "no space left on device" in words.lower():
                raise EngineError(
                    "The disk is full, so nothing was kept. Tell the admin: gpubox doctor"
                ) from error
            raise EngineError(
                f"The container engine could not do that: {words}. Try again, or tell the admin."
            ) from error

    return called


class Stream(io.RawIOBase):
    """Chunks, as docker-py hands them out, as a file to read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)

    def read(self, size: int | None = -1) -> bytes:
        """As much as was asked for, unless it ends before: tarfile takes less for the end."""
        if size is None or size < 0:
            return self._rest + b"".join(self._chunks)
        parts, missing = [], size
        while missing and (part := super().read(missing)):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


class piped:
    """What a function writes, as a file to read while it is written on a thread.

    The function's own error, where it had one, comes out of the block in place of the reader's.
    """

    def __init__(self, write: Callable[[IO[bytes]], None]) -> None:
        self._write = write
        self._error: BaseException | None = None

    def __enter__(self) -> IO[bytes]:
        reading, writing = os.pipe()
        self._reader = os.fdopen(reading, "rb")
        self._thread = threading.Thread(target=self._fill, args=(writing,), daemon=True)
        self._thread.start()
        return self._reader

    def _fill(self, writing: int) -> None:
        # What ends early is an error to the engine, too.
        with suppress(BrokenPipeError), os.fdopen(writing, "wb") as target:
            try:
                self._write(target)
            except BrokenPipeError:
                raise  # the reader has enough
            except BaseException as error:
                self._error = error

    def __exit__(self, *exception: object) -> None:
        self._reader.close()
        self._thread.join()
        if self._error is not None:
            raise self._error


def filtered(source: Any) -> piped:
    """A tar archive without what is left out of templates."""
    return piped(lambda target: imagefile.filter_layer(source, target, left_out))
