"""Which GPUs a machine gets, out of those that are free: pure decisions over plain records."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .inventory import GPU
from .machines import MachineType

# Above this many combinations the best connected set is sought greedily.
_MOST_COMBINATIONS = 3000
_MOST_SEEDS = 16


@dataclass
class Card:
    """One GPU as the pool sees it: its slots, who holds each, and how its holders have it divided.

    A card is divided into as many slots as all machine types that share it need in common; a
    machine that has it alone holds every slot.
    """

    gpu: GPU
    slots: int = 1
    drain_reason: str | None = None
    holders: dict[int, int] = field(default_factory=dict)  # slot -> lease id
    division: str = ""

    @property
    def in_service(self) -> bool:
        """Whether it may be handed out at all."""
        return not self.gpu.problem and self.drain_reason is None

    @property
    def free_slots(self) -> list[int]:
        """Numbers of the slots that nobody holds."""
        return [slot for slot in range(self.slots) if slot not in self.holders]

    @property
    def is_whole(self) -> bool:
        """Whether nobody holds any of it."""
        return not self.holders

    def slots_for(self, machine: MachineType) -> int:
        """How many of its slots a machine of that type takes."""
        return max(1, self.slots // machine.slots_per_gpu)


Placement = dict[str, tuple[int, ...]]
"""Slots by the GPU's UUID, GPUs in the driver's order."""


def fits(card: Card, machine: MachineType) -> bool:
    """Whether the card's free slots serve (one GPU of) a machine of that type."""
    if machine.slots_per_gpu == 1 or card.division != machine.division:
        return card.is_whole
    return card.slots - len(card.holders) >= card.slots_for(machine)


def place(machine: MachineType, cards: Sequence[Card]) -> Placement | None:
    """Slots for a machine among ``cards`` (in service, matching), or None where they do not suffice.

    Shared machines are packed onto the fullest card that has room, so that whole cards stay free;
    machines of several GPUs get the best connected set.
    """
    free = [card for card in cards if fits(card, machine)]
    if len(free) < machine.count:
        return None
    if machine.slots_per_gpu > 1:
        fullest = min(free, key=lambda card: (card.slots - len(card.holders), card.gpu.index))
        return {fullest.gpu.uuid: tuple(fullest.free_slots[: fullest.slots_for(machine)])}
    chosen = [_loneliest(free)] if machine.count == 1 else _best_connected(free, machine.count)
    chosen.sort(key=lambda card: card.gpu.index)
    return {card.gpu.uuid: tuple(range(card.slots)) for card in chosen}


def keep_for(machine: MachineType, with_room: Sequence[Card]) -> set[str]:
    """GPUs to keep for a machine that cannot be placed yet but must not be overtaken any more.

    Of those that have room, as many as it needs: the ones that are nearest to being free.
    """
    nearest = heapq.nsmallest(
        machine.count, with_room, key=lambda card: (len(card.holders) / card.slots, card.gpu.index)
    )
    return {card.gpu.uuid for card in nearest}


def _loneliest(free: Sequence[Card]) -> Card:
    """The card whose use breaks up the fewest close connections among the free ones."""
    if len(free) > 64:
        return min(free, key=lambda card: card.gpu.index)
    uuids = {card.gpu.uuid for card in free}

    def closeness(card: Card) -> int:
        return sum(value for uuid, value in card.gpu.links.items() if uuid in uuids)

    return min(free, key=lambda card: (closeness(card), card.gpu.index))


def _best_connected(free: Sequence[Card], count: int) -> list[Card]:
    free = sorted(free, key=lambda card: card.gpu.index)
    if not any(card.gpu.links for card in free):
        return list(free[:count])
    if math.comb(len(free), count) <= _MOST_COMBINATIONS:
        # max() keeps the first of equals, and combinations come in the driver's order.
        return list(max(itertools.combinations(free, count), key=_closeness))
    grown = (_grow(seed, free, count) for seed in free[:_MOST_SEEDS])
    return max(grown, key=_closeness)


def _grow(seed: Card, free: Sequence[Card], count: int) -> list[Card]:
    chosen = [seed]
    rest = [card for card in free if card is not seed]
    while len(chosen) < count:
        best = max(rest, key=lambda card: sum(card.gpu.links.get(one.gpu.uuid, 0) for one in chosen))
        chosen.append(best)
        rest.remove(best)
    return chosen


def _closeness(cards: Iterable[Card]) -> int:
    return sum(a.gpu.links.get(b.gpu.uuid, 0) for a, b in itertools.combinations(cards, 2))
