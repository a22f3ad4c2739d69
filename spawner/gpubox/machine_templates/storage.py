"""What the library asks of an engine about templates; ``engines.images`` and ``engines.disks`` answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

Say = Callable[[str], None]
"""Told in words how far something is."""


class Looked(Protocol):
    """A running machine before it is kept: ``size_bytes`` it will add at least, ``base`` it was made from."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def base(self) -> str: ...
    @property
    def secrets(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Kept:
    """What a save has made: its ``name`` at the engine, what it takes, and paths in it that look like a
    secret."""

    name: str
    size_bytes: int
    secrets: tuple[str, ...]


class TemplateStorage(Protocol):
    """Where one engine keeps what templates are. Every call blocks; what the engine cannot do is an
    `EngineError`, what it should not, a `PoolRefusal`."""

    def look(self, box: str) -> Looked:
        """What a save of a running machine (`GPUSpawner.box_id`) will keep."""

    def keep(self, found: Any, save: str, base: str, say: Say) -> Kept:
        """Make of it what others start from, under a name of the ``save``'s; all of it, or nothing."""

    def remove(self, image: str) -> None:
        """Remove one; that it is gone already is no error."""

    def users_of(self, image: str) -> list[str]:
        """Who needs it: machines, running or stopped, that are made of it."""

    def name_of(self, save: str) -> str:
        """The name that a save gives to what it makes."""

    def sweep(self) -> int:
        """Remove what saves of a hub that ended in the middle have left; how many those were."""

    def unrecorded(self, recorded: set[str]) -> list[str]:
        """What there is of this hub's templates that is not among the recorded names."""
