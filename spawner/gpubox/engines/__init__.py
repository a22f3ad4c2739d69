"""How one engine runs a server and attaches its GPUs; which GPUs is never decided here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """One server's container, process or VM as its engine tells it: the engine's word, not ours.

    ``unstarted`` is a box that was made and never ran, which a start that was cut short leaves.
    """

    id: str
    name: str
    user: str
    server: str
    machine: str
    running: bool
    unstarted: bool = False
    gpus: tuple[str, ...] = ()


class EngineError(RuntimeError):
    """The engine failed or did not answer. Never to be taken for "the server is not running"."""
