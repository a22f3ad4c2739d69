"""The fleet: every GPU as the pool knows it, and who holds which part of it. In memory alone."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .inventory import GPU
from .ledger import HeldSlot
from .machines import MachineType
from .placement import Card, Placement

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GPUState:
    """What may be done with a GPU: ``ready``, ``leased``, ``draining``, ``drained`` or ``lost``.

    ``slots`` is into how many parts it is divided; ``holders`` are the numbers of the leases.
    """

    state: str
    reason: str = ""
    slots: int = 1
    holders: tuple[int, ...] = ()


class Fleet:
    """All GPUs by UUID, with fast answers to which of them serve a machine type."""

    def __init__(self, machines: Sequence[MachineType]) -> None:
        self.cards: dict[str, Card] = {}
        self._machines = machines
        self._matches: dict[MachineType, list[Card]] = {}
        self._in_service: dict[MachineType, int] = {}
        self._with_room: dict[str, Card] = {}

    # --- which GPUs there are --------------------------------------------------------------------

    def news(self, listed: Sequence[GPU]) -> list[GPU]:
        """GPUs of which something new is known, when the driver lists ``listed``."""
        seen = {gpu.uuid: self._as_known(gpu) for gpu in listed}
        for uuid, card in self.cards.items():
            if uuid not in seen and not card.gpu.problem:
                seen[uuid] = replace(card.gpu, problem="The driver no longer lists it.")
        return [gpu for uuid, gpu in seen.items() if uuid not in self.cards or self.cards[uuid].gpu != gpu]

    def _as_known(self, gpu: GPU) -> GPU:
        """A GPU in trouble may not even tell its model any more: what was known of it is kept."""
        card = self.cards.get(gpu.uuid)
        return replace(card.gpu, problem=gpu.problem) if card and gpu.problem else gpu

    def add(self, gpu: GPU, drain_reason: str | None) -> None:
        """Know of one more GPU."""
        card = Card(gpu, self._division(gpu), drain_reason)
        self.cards[gpu.uuid] = self._with_room[gpu.uuid] = card
        self._forget()
        if gpu.problem:
            log.warning("GPU %s (%s) is lost: %s", gpu.uuid, gpu.model, gpu.problem)

    def _division(self, gpu: GPU) -> int:
        """Into how many slots it is divided: what all types that match it have in common."""
        return math.lcm(*(machine.slots_per_gpu for machine in self._machines if machine.matches(gpu)))

    def update(self, gpu: GPU) -> bool:
        """Take what is known now of a GPU; returns whether it came back."""
        card = self.cards[gpu.uuid]
        came_back = bool(card.gpu.problem) and not gpu.problem
        if came_back:
            log.warning("GPU %s (%s) is back.", gpu.uuid, gpu.model)
        elif gpu.problem and not card.gpu.problem:
            log.warning("GPU %s (%s) is lost: %s", gpu.uuid, gpu.model, gpu.problem)
        card.gpu = gpu
        self._forget()
        return came_back

    def set_drain(self, uuid: str, reason: str | None) -> None:
        """Take that an admin drained the GPU, or with None that it serves again."""
        self.cards[uuid].drain_reason = reason
        self._forget()

    def _forget(self) -> None:
        self._matches.clear()
        self._in_service.clear()

    def states(self) -> dict[str, GPUState]:
        """The state of every GPU, by UUID."""
        return {uuid: _state(card) for uuid, card in self.cards.items()}

    # --- which serve a machine type --------------------------------------------------------------

    def matching(self, machine: MachineType) -> list[Card]:
        """All GPUs that machines of the type run on, whatever their state, in the driver's order."""
        if machine not in self._matches:
            self._matches[machine] = _in_order(machine, self.cards.values())
        return self._matches[machine]

    def in_service(self, machine: MachineType) -> int:
        """How many of them may be handed out at all."""
        if machine not in self._in_service:
            self._in_service[machine] = sum(card.in_service for card in self.matching(machine))
        return self._in_service[machine]

    def with_room(self, machine: MachineType) -> list[Card]:
        """Those of them that may be handed out and have room."""
        # Where nearly all are taken, as with a line, the few with room are looked through instead.
        is_full = len(self._with_room) * 4 < len(self.cards)
        cards = _in_order(machine, self._with_room.values()) if is_full else self.matching(machine)
        return [card for card in cards if card.in_service]

    # --- who holds them --------------------------------------------------------------------------

    def take_up(self, held: Sequence[HeldSlot], divisions: Mapping[int, str]) -> list[Card]:
        """Hold again what the ledger says, at a start; ``divisions`` are those of the leases.

        Returns the cards whose slots the ledger has in another division than the config asks for
        now: they are divided finer, into what both have in common.
        """
        by_card: dict[str, list[HeldSlot]] = {}
        for slot in held:
            by_card.setdefault(slot.uuid, []).append(slot)
        divided_anew = []
        for uuid, slots in by_card.items():
            card = self.cards[uuid]
            card.slots = math.lcm(card.slots, *(slot.slots for slot in slots))
            for slot in slots:
                factor = card.slots // slot.slots
                parts = range(slot.slot * factor, (slot.slot + 1) * factor)
                self.hold(slot.lease_id, {uuid: tuple(parts)}, divisions[slot.lease_id])
            if any(slot.slots != card.slots for slot in slots):
                divided_anew.append(card)
        return divided_anew

    def hold(self, lease_id: int, placement: Placement, division: str) -> None:
        """Give slots to a lease, whose machine type has the cards so divided."""
        for uuid, slots in placement.items():
            card = self.cards[uuid]
            card.holders.update(dict.fromkeys(slots, lease_id))
            card.division = division
            if not card.free_slots:
                self._with_room.pop(uuid, None)

    def let_go(self, lease_id: int, uuids: Sequence[str]) -> None:
        """Take back from a lease all slots of those GPUs."""
        for uuid in uuids:
            card = self.cards[uuid]
            card.holders = {slot: one for slot, one in card.holders.items() if one != lease_id}
            self._with_room[uuid] = card
            if card.is_whole:
                card.slots = self._division(card.gpu)


def _in_order(machine: MachineType, cards: Iterable[Card]) -> list[Card]:
    matching = [card for card in cards if machine.matches(card.gpu)]
    return sorted(matching, key=lambda card: card.gpu.index)


def _state(card: Card) -> GPUState:
    holders = tuple(sorted(set(card.holders.values())))
    if card.gpu.problem:
        return GPUState("lost", card.gpu.problem, card.slots, holders)
    if card.drain_reason is not None:
        return GPUState("draining" if holders else "drained", card.drain_reason, card.slots, holders)
    return GPUState("leased" if holders else "ready", "", card.slots, holders)
