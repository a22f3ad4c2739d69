"""Asking the hub that runs on this machine, in the words of the terminal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..host import HostProblem

if TYPE_CHECKING:
    from ..control.client import HubClient

Answer = TypeVar("Answer")


class NoHubHere(HostProblem):
    """No hub answers on this machine; the message says what works without one."""


def ask(question: Callable[[HubClient], Awaitable[Answer]]) -> Answer:
    """What the hub answers. Raises `NoHubHere`, or with the hub's own sentence where it says no."""
    from ..control import client

    try:
        return client.ask(question)
    except client.NoHub as error:
        from .. import paths

        raise NoHubHere(
            f"No hub runs here (its state would be in {paths.state_dir()}): start it with gpubox run."
            " What needs none: gpubox gpus, leases, usage, top and doctor."
        ) from error


def state() -> dict[str, Any]:
    """The hub's state. Raises `NoHubHere`."""
    return ask(lambda hub: hub.state())
