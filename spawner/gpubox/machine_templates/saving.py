"""A save under way: what it is, how far it has come, and how it ended."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from .packing import Cancelled

# For how long a save that has ended is still told: whoever started it may look a little later.
TELL_SECONDS = 900.0


@dataclass(eq=False)
class Save:
    """One save. ``state``: running, done, failed or cancelled; ``words``: what it does, or how it ended.

    ``kind`` is ``save``, or ``export``, ``push``, ``import`` or ``pull`` for a template that moves.
    """

    owner: str
    server: str
    name: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: str = "running"
    words: str = "Looking at what was changed"
    size_bytes: int = 0
    version: int | None = None
    secrets: tuple[str, ...] = ()
    began_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    task: asyncio.Task[None] | None = None
    kind: str = "save"
    # For threads, which cannot be cancelled: they look.
    unwanted: threading.Event = field(default_factory=threading.Event)

    def say(self, words: str) -> None:
        """How far it is."""
        self.words = words

    def go_on(self) -> None:
        """Raises `Cancelled` once nobody wants it any more."""
        if self.unwanted.is_set():
            raise Cancelled

    def end(self, state: str, words: str) -> None:
        """It is over; what is said first holds."""
        if self.ended_at is None:
            self.state, self.words, self.ended_at = state, words, time.time()

    @property
    def is_old_news(self) -> bool:
        """Whether nobody is told of it any more."""
        return self.ended_at is not None and time.time() - self.ended_at > TELL_SECONDS

    def as_dict(self) -> dict[str, Any]:
        """What its owner is told."""
        what = ("id", "owner", "server", "name", "state", "words", "size_bytes", "version")
        told = {name: getattr(self, name) for name in (*what, "began_at", "ended_at")}
        return {**told, "secrets": list(self.secrets)}
