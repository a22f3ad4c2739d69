"""What cannot be, said at once: the sentences for requests that no waiting would meet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .fleet import Fleet
from .machines import MachineType
from .placement import Card


class PoolRefusal(Exception):
    """A request that cannot be met, now or ever; str() is the sentence for the user.

    ``reason`` is one word for programs: no_such_gpu, too_many, out_of_service, over_quota, clearing.
    """

    def __init__(self, sentence: str, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def shortage(machine: MachineType, cards: Sequence[Card]) -> str:
    """A sentence where not all GPUs of the type (``cards``) serve; empty where they do."""
    if not cards:
        return "No such GPU here"
    out = [card for card in cards if not card.in_service]
    if not out:
        if len(cards) < machine.count:
            return f"Only {len(cards)} such GPU{'s' if len(cards) > 1 else ''} here"
        return ""
    reason = out[0].gpu.problem or f"Taken out of service: {out[0].drain_reason}"
    return f"{len(out)} of {len(cards)} GPUs out of service. {reason}"


def refuse_what_cannot_be(machine: MachineType, fleet: Fleet) -> None:
    """Raise PoolRefusal where the GPUs that there are can never make such a machine."""
    cards = fleet.matching(machine)
    if machine.count == 0 or fleet.in_service(machine) >= machine.count:
        return
    if not cards:
        kinds = sorted({card.gpu.model for card in fleet.cards.values()})
        here = f"There are: {', '.join(kinds)}." if kinds else "No GPU was found at all."
        of_slices = f" with a {machine.mig_profile} slice" if machine.mig_profile else ""
        raise PoolRefusal(
            f"No {machine.gpu or 'GPU'}{of_slices} is in this machine, so"
            f" {machine.title} cannot start. {here} Choose another machine type.",
            "no_such_gpu",
        )
    if len(cards) < machine.count:
        raise PoolRefusal(
            f"{machine.title} needs {machine.count} GPUs and there are only {len(cards)} such."
            " Choose a smaller machine type.",
            "too_many",
        )
    raise PoolRefusal(
        f"{machine.title} cannot start: {shortage(machine, cards)}"
        " Choose another machine type, or ask the admin.",
        "out_of_service",
    )


def refuse_over_quota(machine: MachineType, most: int, held_or_waited_for: Iterable[float]) -> None:
    """Raise PoolRefusal where a user would have more than ``most`` GPUs (0: no limit).

    ``held_or_waited_for`` are the GPUs of the user's other servers, each as a share (0.25 for a
    quarter of one).
    """
    if not most or machine.count == 0:
        return
    if machine.gpu_share > most:
        raise PoolRefusal(
            f"{machine.title} takes {machine.gpu_share:g} GPUs and the limit is"
            f" {most} for each user. Choose a smaller machine type.",
            "over_quota",
        )
    others = sum(held_or_waited_for)
    if others + machine.gpu_share > most:
        raise PoolRefusal(
            f"You hold or wait for {others:g} GPUs and the limit is {most} for each"
            " user. Stop one of your machines first.",
            "over_quota",
        )
