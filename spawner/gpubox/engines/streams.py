"""The engine's answers as files to read: chunks, and archives that are changed on their way."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Iterator
from typing import IO, Any

import requests
from docker.errors import DockerException

from ..machine_templates import imagefile
from ..machine_templates.contents import left_out

# What goes wrong between an engine and us.
ERRORS = (DockerException, requests.RequestException, OSError, tarfile.TarError)


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


class filtered_pipe:
    """A tar archive without what is left out, as a file to read while it is made on a thread."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __enter__(self) -> IO[bytes]:
        reading, writing = os.pipe()
        self._reader = os.fdopen(reading, "rb")

        def copy() -> None:
            # An archive that ends early is an error to the engine, which then tells of it.
            with os.fdopen(writing, "wb") as target:
                try:
                    imagefile.filter_layer(self._source, target, left_out)
                except ERRORS:
                    return

        self._thread = threading.Thread(target=copy, daemon=True)
        self._thread.start()
        return self._reader

    def __exit__(self, *exception: object) -> None:
        self._reader.close()
        self._thread.join()
