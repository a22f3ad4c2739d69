"""A save under way: what it is, how far it has come, and how it ended."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

# For how long a save that has ended is still told: whoever started it may look a little later.
TELL_SECONDS = 900.0


@dataclass(eq=False)
class Save:
    """One save. ``state``: running, done, failed or cancelled; ``words``: what it does, or how it ended."""

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
        told = ["id", "owner", "server", "name", "state", "words"]
        told += ["size_bytes", "version", "began_at", "ended_at"]
        return {**{name: getattr(self, name) for name in told}, "secrets": list(self.secrets)}
