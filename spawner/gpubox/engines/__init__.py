"""How one engine runs a server and attaches its GPUs; which GPUs is never decided here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..spawner import GPUSpawner


@dataclass(frozen=True)
class Box:
    """One server's container, process or VM as its engine tells it: the engine's word, not ours.

    ``unstarted`` is a box that was made and never ran, which a start that was cut short leaves. ``kept`` is
    the name of one that outlives its starts.
    """

    id: str
    name: str
    user: str
    server: str
    machine: str
    running: bool
    unstarted: bool = False
    gpus: tuple[str, ...] = ()
    kept: str = ""


@dataclass(frozen=True)
class KeptMachine:
    """A stopped machine whose file system waits for its next start, ``since`` (seconds since the epoch).

    ``machine`` is the type that it was made as; ``size_bytes`` is what was changed in it, None where that is
    not known yet; ``is_old`` says that its image has been made anew since; ``engine`` is that of machine
    types.
    """

    id: str
    user: str
    server: str
    machine: str
    image: str
    since: float
    created_at: float
    size_bytes: int | None
    is_old: bool
    engine: str = ""

    @property
    def key(self) -> str:
        """What says in the form that this very one may be deleted."""
        return self.id[:16]


class EngineError(RuntimeError):
    """The engine failed or did not answer. Never to be taken for "the server is not running"."""


_ENGINES = {"libvirt": (".libvirt", "LibvirtGPUSpawner", "vm")}


def spawner_of(engine: str) -> type[GPUSpawner]:
    """The class of servers of an engine that machine types may name; imported only now.

    Raises EngineError where what it needs is not installed.
    """
    module, name, extra = _ENGINES[engine]
    try:
        found: type[GPUSpawner] = getattr(import_module(module, __name__), name)
        found.check_installed()
    except ImportError as error:
        raise EngineError(
            f"Machine types with the engine {engine!r} need a package that is not installed ({error}):"
            f" pip install 'gpubox[{extra}]'"
        ) from error
    return found
